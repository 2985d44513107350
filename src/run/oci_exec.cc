// exec.
#include <fcntl.h>

#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/cgroup.h"
#include "run/oci_commands.h"
#include "run/sync.h"
#include "run/user.h"

namespace rayctl::run::oci {

namespace {

const Grammar grammar{
    .flags = {"-t|--tty", "-d|--detach", "--no-new-privs", "--ignore-paused", "--no-subreaper"},
    .values = {"-p|--process", "--console-socket", "--pid-file", "--pidfd-socket", "--preserve-fds",
               "-u|--user", "-g|--additional-gids", "--cwd", "-e|--env", "-c|--cap", "--cgroup", "--apparmor",
               "--process-label"},
    .most = SIZE_MAX,
    .command_follows = true};

void set_user(ProcessSpec& process, const std::string& text, pid_t pid) {
  // The container's own files, beneath its own root: the same rules as for an image's USER.
  Fd root{check(open(fmt::format("/proc/{}/root", pid).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                "cannot open the container's root")};
  ResolvedUser user = resolve_user_in_root(text, root.get());
  process.user.uid = user.uid;
  process.user.gid = user.gid;
  process.user.additional_gids = user.additional_gids;
  std::erase_if(process.env, [](const std::string& entry) { return entry.starts_with("HOME="); });
  // As for PID 1: who isn't root holds nothing by itself, setuid programs still may.
  if (user.uid != 0 && process.capabilities)
    process.capabilities = Capabilities{.bounding = process.capabilities->bounding};
}

ProcessSpec process_of(const Arguments& arguments, const Spec& spec, pid_t pid) {
  const auto& words = arguments.positionals();
  if (std::string file = arguments.value("--process"); !file.empty()) {
    if (words.size() > 1) throw UsageError("exec: '--process' excludes a command");
    return parse_process(Json::parse(read_file(file), file));
  }
  if (words.size() < 2) throw UsageError("exec: the command is missing");
  ProcessSpec process = spec.process;
  process.args.assign(words.begin() + 1, words.end());
  process.terminal = arguments.has("--tty");
  process.console_size.reset();
  if (arguments.has("--user")) set_user(process, arguments.value("--user"), pid);
  for (const std::string& list : arguments.all("--additional-gids")) {
    uint32_t gid = 0;
    auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), gid);
    if (error != std::errc() || end != list.data() + list.size() || gid == UINT32_MAX)
      throw UsageError("exec: '{}' is no group id", list);
    process.user.additional_gids.push_back(gid);
  }
  if (arguments.has("--cwd")) process.cwd = arguments.value("--cwd");
  if (!process.cwd.starts_with("/")) throw UsageError("exec: '{}' is not an absolute path", process.cwd);
  for (const std::string& entry : arguments.all("--env")) {
    std::string name = entry.substr(0, entry.find('=') + 1);
    if (name.empty()) throw UsageError("exec: '{}' is not NAME=VALUE", entry);
    std::erase_if(process.env, [&](const std::string& e) { return e.starts_with(name); });
    process.env.push_back(entry);
  }
  if (!process.capabilities) process.capabilities = Capabilities{};
  for (const std::string& name : arguments.all("--cap")) {
    auto bit = capability_number(name);
    if (!bit) {  // a warning, as for those of config.json
      process.unknown_capabilities.push_back(name);
      continue;
    }
    // The inheritable set stays as it is: what is in it would survive into files' own sets (CVE-2022-29162).
    for (uint64_t* set : {&process.capabilities->bounding, &process.capabilities->effective,
                          &process.capabilities->permitted})
      *set |= uint64_t{1} << *bit;
  }
  if (arguments.has("--no-new-privs")) process.no_new_privileges = true;
  if (arguments.has("--apparmor")) process.apparmor_profile = arguments.value("--apparmor");
  if (arguments.has("--process-label")) process.selinux_label = arguments.value("--process-label");
  return process;
}

// Below the container's own cgroup, and nowhere else.
Cgroup cgroup_for(const Record& record, const std::string& below) {
  if (below.empty()) return Cgroup::open(record.cgroup);
  std::string path = "/" + below + "/";
  if (path.find("/../") != std::string::npos) throw Error("cannot use cgroup '{}': it has a '..'", below);
  Cgroup cgroup = Cgroup::open(record.cgroup + "/" + below);
  if (!cgroup.exists()) throw Error("cannot use cgroup '{}': the container has none of that name", below);
  return cgroup;
}

}  // namespace

int exec(const Global& global, const Words& words) {
  Arguments arguments(grammar, "exec", words);
  const std::string& id = arguments.positionals()[0];
  StateDirectory directory = StateDirectory::open(global.root, id);
  Record record = directory.load();
  Status status = status_of(directory, record);
  if (status == Status::paused && !arguments.has("--ignore-paused"))
    throw Error("cannot exec in container '{}': it is paused (use --ignore-paused to queue the process)", id);
  if (status == Status::stopped || status == Status::creating)
    throw Error("cannot exec in container '{}': container not running: it is {}", id, name_of(status));
  Spec spec = directory.spec();
  ProcessSpec process = process_of(arguments, spec, record.pid);
  bool detach = arguments.has("--detach");
  std::string socket = arguments.value("--console-socket");
  if (process.terminal && detach && socket.empty())
    throw Error("cannot exec in container '{}': a detached process with a terminal needs --console-socket",
                id);
  ExecOptions options{.id = id,
                      .bundle = record.bundle,
                      .pid = record.pid,
                      .start_time = record.start_time,
                      .seccomp_cache = seccomp_cache(),
                      .preserve_fds = preserved_fds(arguments),
                      .warn = warning_log(global)};
  std::optional<Cgroup> cgroup;
  if (!record.cgroup.empty()) {
    cgroup = cgroup_for(record, arguments.value("--cgroup"));
    options.cgroup = cgroup->entry();
  }
  Process started = exec_in_container(spec, process, options);
  if (started.terminal && !socket.empty()) {
    hand_over_terminal(started, socket);
    started.terminal.reset();
  }
  if (auto to = arguments.value("--pidfd-socket"); !to.empty()) send_descriptor(to, started.pidfd.get(), id);
  if (auto file = arguments.value("--pid-file"); !file.empty()) write_file(file, std::to_string(started.pid));
  return detach ? 0 : attend(started);
}

}  // namespace rayctl::run::oci
