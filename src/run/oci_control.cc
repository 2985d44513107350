// state, kill, delete, pause, resume, update.
#include <regex.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "run/cgroup.h"
#include "run/defaults.h"
#include "run/oci_commands.h"
#include "run/rootfs.h"
#include "run/sync.h"

namespace rayctl::run::oci {

namespace {

using namespace std::chrono_literals;

struct Found {
  StateDirectory directory;
  Record record;
  Status status;
};

Found find(const Global& global, const std::string& id) {
  StateDirectory directory = StateDirectory::open(global.root, id);
  Record record = directory.load();
  Status status = status_of(directory, record);
  return {std::move(directory), std::move(record), status};
}

Cgroup cgroup_of(const Record& record, std::string_view purpose) {
  if (record.cgroup.empty())
    throw Error("cannot {} container '{}': it has no cgroup of its own", purpose, record.id);
  return Cgroup::open(record.cgroup);
}

void wait_until_gone(const Record& record) {
  // Our child, or that of whoever adopted it: either way it is dead when its start time is gone or it is a
  // zombie.
  for (int i = 0; i < 1000; ++i) {
    if (!send_signal(record, SIGKILL)) return;
    std::this_thread::sleep_for(10ms);
  }
  throw Error("cannot kill container '{}': process {} is still there after 10 s", record.id, record.pid);
}

}  // namespace

int state(const Global& global, const Words& words) {
  Arguments arguments({}, "state", words);
  Found found = find(global, arguments.positionals()[0]);
  Spec spec = found.status == Status::creating ? Spec{} : found.directory.spec();
  write_fd(STDOUT_FILENO, state_document(spec, found.record, found.status), "stdout");
  return 0;
}

int kill(const Global& global, const Words& words) {
  Arguments arguments({.flags = {"-a|--all"}, .most = 2}, "kill", words);
  const std::string& id = arguments.positionals()[0];
  int signal = arguments.positionals().size() > 1 ? parse_signal(arguments.positionals()[1]) : SIGTERM;
  Found found = find(global, id);
  if (arguments.has("--all")) {
    Cgroup cgroup = cgroup_of(found.record, "signal all of");
    if (signal == SIGKILL) {
      cgroup.kill();
      return 0;
    }
    for (pid_t pid : cgroup.pids())
      if (::kill(pid, signal) < 0 && errno != ESRCH)
        throw SysError(errno, "cannot send signal {} to process {}", signal, pid);
    return 0;
  }
  if (found.status == Status::stopped || !send_signal(found.record, signal))
    throw Error("cannot send a signal to container '{}': container not running", id);
  // The v1 freezer holds even SIGKILL back.
  if (found.status == Status::paused && signal == SIGKILL) cgroup_of(found.record, "resume").thaw();
  return 0;
}

void dispose(const StateDirectory& directory, const Record& record) {
  if (!record.cgroup.empty()) {
    Cgroup cgroup = Cgroup::open(record.cgroup);
    if (cgroup.exists()) {
      cgroup.kill();
      cgroup.remove();
    }
  }
  wait_until_gone(record);
  if (record.pid > 0) take_off_root(directory.spec(), record.rootfs);
  if (exists(join(directory.path(), "config.json"))) {
    Spec spec = directory.spec();
    // "If any poststop hook fails, the runtime MUST log a warning and go on" (runtime.md, lifecycle).
    for (const Hook& hook : spec.hooks.poststop) {
      try {
        run_hooks({hook}, "poststop", to_text(state_of(spec, record, Status::stopped)));
      } catch (const std::exception& e) {
        warn("{}", e.what());
      }
    }
  }
  directory.remove();
}

namespace {

// A POSIX extended regular expression, found anywhere in a text.
class Pattern {
 public:
  explicit Pattern(const std::string& text) {
    if (int rc = regcomp(&compiled_, text.c_str(), REG_EXTENDED | REG_NOSUB)) {
      char reason[256];
      regerror(rc, &compiled_, reason, sizeof reason);
      throw UsageError("'{}' is no regular expression: {}", text, reason);
    }
  }
  Pattern(const Pattern&) = delete;
  ~Pattern() { regfree(&compiled_); }
  bool matches(const std::string& text) const {
    return regexec(&compiled_, text.c_str(), 0, nullptr, 0) == 0;
  }

 private:
  regex_t compiled_;
};

enum class Force { no, yes };

void remove_one(const Global& global, const std::string& id, Force force) {
  check_id(id);
  if (force == Force::yes && !exists(join(global.root, id))) return;
  Found found = find(global, id);
  if (force == Force::no &&
      (found.status == Status::running || found.status == Status::paused || found.status == Status::creating))
    throw Error("cannot delete container '{}': it is {} (stop it first, or use --force)", id,
                name_of(found.status));
  dispose(found.directory, found.record);
}

}  // namespace

int remove(const Global& global, const Words& words) {
  Arguments arguments({.flags = {"-f|--force", "--regex"}}, "delete", words);
  const std::string& id = arguments.positionals()[0];
  Force force = arguments.has("--force") ? Force::yes : Force::no;
  if (!arguments.has("--regex")) {
    remove_one(global, id, force);
    return 0;
  }
  Pattern pattern(id);
  for (const std::string& each : StateDirectory::list(global.root))
    if (pattern.matches(each)) remove_one(global, each, force);
  return 0;
}

int pause(const Global& global, const Words& words) {
  Arguments arguments({}, "pause", words);
  Found found = find(global, arguments.positionals()[0]);
  if (found.status != Status::running && found.status != Status::created)
    throw Error("cannot pause container '{}': container not running: it is {}", found.record.id,
                name_of(found.status));
  cgroup_of(found.record, "pause").freeze();
  return 0;
}

int resume(const Global& global, const Words& words) {
  Arguments arguments({}, "resume", words);
  Found found = find(global, arguments.positionals()[0]);
  if (found.status != Status::paused)
    throw Error("cannot resume container '{}': it is not paused but {}", found.record.id,
                name_of(found.status));
  cgroup_of(found.record, "resume").thaw();
  return 0;
}

int update(const Global& global, const Words& words) {
  Arguments arguments({.values = {"-r|--resources", "--memory", "--memory-swap", "--memory-reservation",
                                  "--cpu-shares|--cpu-share", "--cpu-quota", "--cpu-period", "--cpu-burst",
                                  "--cpu-idle", "--cpuset-cpus", "--cpuset-mems", "--pids-limit",
                                  "--blkio-weight", "--cpu-rt-period", "--cpu-rt-runtime"}},
                      "update", words);
  Found found = find(global, arguments.positionals()[0]);
  if (found.status == Status::stopped || found.status == Status::creating)
    throw Error("cannot update container '{}': container not running: it is {}", found.record.id,
                name_of(found.status));
  Resources resources;
  if (std::string file = arguments.value("--resources"); !file.empty())
    resources = parse_resources(
        Json::parse(file == "-" ? read_fd(STDIN_FILENO, "stdin") : read_file(file), "resources"));
  allow_default_devices(resources);
  auto set = [&](std::string_view name, auto& into) {
    if (auto value = arguments.number(name))
      into = static_cast<typename std::decay_t<decltype(into)>::value_type>(*value);
  };
  auto set_bytes = [&](std::string_view name, std::optional<int64_t>& into) {
    if (auto value = arguments.bytes(name)) into = value;
  };
  set_bytes("--memory", resources.memory.limit);
  set_bytes("--memory-swap", resources.memory.swap);
  set_bytes("--memory-reservation", resources.memory.reservation);
  set("--cpu-share", resources.cpu.shares);
  set("--cpu-quota", resources.cpu.quota);
  set("--cpu-period", resources.cpu.period);
  set("--cpu-burst", resources.cpu.burst);
  set("--cpu-idle", resources.cpu.idle);
  set("--cpu-rt-period", resources.cpu.realtime_period);
  set("--cpu-rt-runtime", resources.cpu.realtime_runtime);
  set("--pids-limit", resources.pids_limit);
  set("--blkio-weight", resources.block.weight);
  if (arguments.has("--cpuset-cpus")) resources.cpu.cpus = arguments.value("--cpuset-cpus");
  if (arguments.has("--cpuset-mems")) resources.cpu.mems = arguments.value("--cpuset-mems");
  cgroup_of(found.record, "update").apply(resources);
  return 0;
}

}  // namespace rayctl::run::oci
