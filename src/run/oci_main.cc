// The runtime's entry: global options, the sealed copy, where errors go.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/version.h"
#include "run/oci_commands.h"
#include "run/sealed.h"

namespace rayctl::run::oci {

namespace {

// Sealed: the process shares its executable with the container for a moment (CVE-2019-5736).
enum class Binary { any, sealed };

struct Command {
  const char* name;
  int (*run)(const Global&, const Words&);
  Binary binary = Binary::any;
};

constexpr Command commands[] = {{"create", create, Binary::sealed},
                                {"start", start},
                                {"state", state},
                                {"kill", kill},
                                {"delete", remove},
                                {"run", run, Binary::sealed},
                                {"exec", exec, Binary::sealed},
                                {"list", list},
                                {"ps", processes},
                                {"pause", pause},
                                {"resume", resume},
                                {"update", update},
                                {"events", events},
                                {"features", features},
                                {"spec", spec}};

constexpr const char* help =
    "rayctl oci: an OCI container runtime (https://github.com/opencontainers/runtime-spec)\n"
    "\n"
    "rayctl oci [GLOBAL OPTIONS] COMMAND [OPTIONS] [ID]   or by a link named oci-rayctl\n"
    "\n"
    "  create ID   make a container from a bundle (-b DIR), stopped before its program\n"
    "  start ID    run the program of a created container\n"
    "  run ID      create, start, wait, delete (-d: do not wait)\n"
    "  exec ID     run a further program in a container (-t -d -p FILE --user --cwd --env --cap)\n"
    "  state ID    print the state as JSON\n"
    "  kill ID     send a signal (-a: to all processes)\n"
    "  delete ID   remove a container (-f: also a running one)\n"
    "  list, ps ID, events ID, features, spec\n"
    "  pause ID, resume ID, update ID (-r FILE, --memory, --cpu-quota, --pids-limit, ...)\n"
    "\n"
    "  --root DIR          where the state of containers is kept (default /run/rayctl/oci)\n"
    "  --log FILE          errors and warnings go there too; --log-format text|json\n"
    "  --cgroup-manager M  cgroupfs or disabled\n"
    "  --debug, --version, --help\n"
    "\n"
    "Example: podman --runtime /usr/local/bin/oci-rayctl run --rm IMAGE COMMAND\n";

void write_log(const Global& global, const char* level, std::string_view text) {
  if (global.log.empty()) return;
  Fd fd{open(global.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644)};
  if (!fd) return;
  std::string line;
  if (global.log_json) {
    nlohmann::json record{{"level", level}, {"msg", text}, {"time", now_rfc3339()}};
    line = record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  } else {
    line = fmt::format("time=\"{}\" level={} msg=\"{}\"\n", now_rfc3339(), level, printable(text));
  }
  (void)!write(fd.get(), line.data(), line.size());
}

// Takes the global options from the front of `words`; what is left begins with the command.
Global parse_global(Words& words) {
  Global global{.root = join(default_paths().run_dir, "oci")};
  size_t i = 0;
  for (; i < words.size() && words[i].starts_with("-"); ++i) {
    std::string word = words[i];
    std::optional<std::string> value;
    if (size_t equals = word.find('='); equals != std::string::npos) {
      value = word.substr(equals + 1);
      word.resize(equals);
    }
    if (!word.starts_with("--") && word.size() > 2) word.insert(0, "-");  // -root
    auto text = [&]() -> std::string {
      if (value) return *value;
      if (++i == words.size()) throw UsageError("'{}' needs a value", word);
      return words[i];
    };
    if (word == "--root") {
      global.root = absolute(text());
    } else if (word == "--log") {
      global.log = absolute(text());
    } else if (word == "--log-format") {
      std::string format = text();
      if (format != "text" && format != "json")
        throw UsageError("unknown log format '{}': it is text or json", format);
      global.log_json = format == "json";
    } else if (word == "--debug") {
      global.debug = !value || *value == "true";
    } else if (word == "--systemd-cgroup") {
      if (!value || *value == "true")
        throw UsageError(
            "cannot use --systemd-cgroup: rayctl has no systemd driver (let the engine use cgroupfs)");
    } else if (word == "--cgroup-manager") {
      std::string manager = text();
      if (manager != "cgroupfs" && manager != "disabled")
        throw UsageError("cannot use cgroup manager '{}': rayctl has cgroupfs and disabled", manager);
      global.cgroups = manager == "cgroupfs";
    } else if (word == "--rootless") {
      std::string rootless = value.value_or("true");
      if (rootless == "true") throw UsageError("cannot use --rootless: rayctl needs root");
    } else if (word == "--version" || word == "-v" || word == "--help" || word == "-h") {
      words = {word.starts_with("--v") || word == "-v" ? "--version" : "--help"};
      return global;
    } else {
      throw UsageError("unknown option '{}'", word);
    }
  }
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i));
  return global;
}

// Goes on from the sealed copy, with the same arguments; returns when it is running already.
void seal(const Words& all) {
  std::string sealed = sealed_binary(default_paths().run_dir);
  char own[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", own, sizeof own);
  if (n > 0 && std::string_view(own, static_cast<size_t>(n)) == sealed) return;
  std::vector<char*> argv{const_cast<char*>("oci-rayctl")};
  for (const std::string& word : all) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  execv(sealed.c_str(), argv.data());
  throw SysError(errno, "cannot run '{}'", sealed);
}

int dispatch(const Global& global, const Words& all, const Words& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "help") {
    write_fd(STDOUT_FILENO, help, "stdout");
    return words.empty() ? static_cast<int>(ExitCode::usage) : 0;
  }
  if (words[0] == "--version") {
    // The form that engines look for: a name, "version", a number; then the specification's.
    write_fd(STDOUT_FILENO, fmt::format("oci-rayctl version {}\nspec: 1.2.0\n", version()), "stdout");
    return 0;
  }
  if (words[0] == "checkpoint" || words[0] == "restore")
    throw Error("cannot {} a container: rayctl does not support it (a cluster's state would not survive it)",
                words[0]);
  for (const Command& command : commands) {
    if (words[0] != command.name) continue;
    if (words.size() > 1 && (words[1] == "--help" || words[1] == "-h")) {
      write_fd(STDOUT_FILENO, help, "stdout");
      return 0;
    }
    if (command.binary == Binary::sealed) seal(all);
    return command.run(global, {words.begin() + 1, words.end()});
  }
  throw UsageError("unknown command '{}' (try --help)", words[0]);
}

}  // namespace

std::function<void(const std::string&)> warning_log(const Global& global) {
  return [&global](const std::string& text) {
    if (global.log.empty())
      warn("{}", text);
    else
      write_log(global, "warning", text);
  };
}

int main(int argc, char** argv) {
  Words all(argv + std::min(argc, 1), argv + argc), words = all;
  Global global;
  auto fail = [&](const std::exception& e, ExitCode code) {
    write_log(global, "error", e.what());
    log_line(Level::error, e.what());
    return static_cast<int>(code);
  };
  try {
    global = parse_global(words);
    set_log({.level = global.debug ? Level::debug : Level::info});
    return dispatch(global, all, words);
  } catch (const UsageError& e) {
    return fail(e, ExitCode::usage);
  } catch (const std::exception& e) {
    return fail(e, ExitCode::failure);
  }
}

}  // namespace rayctl::run::oci
