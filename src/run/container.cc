#include "run/container.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "run/credentials.h"
#include "run/hooks.h"
#include "run/plan.h"
#include "run/process.h"
#include "run/seccomp_cache.h"
#include "run/seccomp_listener.h"
#include "run/sync.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

// The namespaces that only children enter: what this thread's next child gets is changed, and changed back.
class ChildNamespace {
 public:
  ChildNamespace(int flag, const char* own) : flag_(flag), own_(open_file(own, O_RDONLY)) {}
  ChildNamespace(const ChildNamespace&) = delete;
  ~ChildNamespace() {
    // Going on in the wrong namespace would be worse than ending here.
    if (setns(own_.get(), flag_) < 0) std::terminate();
  }

 private:
  int flag_;
  Fd own_;
};

void check_caller() {
  struct stat tasks;
  check(stat("/proc/self/task", &tasks), "cannot look at '/proc/self/task'");
  if (tasks.st_nlink > 3)
    throw Error("cannot start a container: the calling process has more than one thread");
}

Fd clone_child(uint64_t flags, const CgroupEntry& cgroup, pid_t& pid) {
  int pidfd = -1;
  clone_args args{};
  args.flags = flags | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (cgroup.unified_directory >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<uint64_t>(cgroup.unified_directory);
  }
  pid = sys::clone3(args);
  if (pid < 0) {
    int code = errno;
    throw SysError(code, "cannot make the container's first process{}",
                   code == EBUSY ? " (its cgroup has children with controllers)" : "");
  }
  return Fd{pidfd};
}

void write_mappings(pid_t pid, const Linux& config) {
  auto write = [&](const char* file, const std::vector<IdMapping>& mappings) {
    std::string text;
    for (const IdMapping& m : mappings) text += fmt::format("{} {} {}\n", m.container_id, m.host_id, m.size);
    write_existing(fmt::format("/proc/{}/{}", pid, file), text);
  };
  write("uid_map", config.uid_mappings);
  write("gid_map", config.gid_mappings);
}

void write_time_offsets(const std::map<std::string, TimeOffset>& offsets) {
  std::string text;
  for (const auto& [clock, offset] : offsets)
    text += fmt::format("{} {} {}\n", clock, offset.seconds, offset.nanoseconds);
  if (!text.empty()) write_existing("/proc/self/timens_offsets", text);
}

// The parent's side, until the child has become its program or waits at the gate. Kills and reaps it on
// failure.
class Start {
 public:
  Start(pid_t pid, Fd pidfd, Fd socket, const Warn& warn) : socket_(std::move(socket)), warn_(warn) {
    process_.pid = pid;
    process_.pidfd = std::move(pidfd);
  }
  Start(const Start&) = delete;
  ~Start() {
    if (process_.pid <= 0) return;
    sys::pidfd_send_signal(process_.pidfd.get(), SIGKILL);
    waitpid(process_.pid, nullptr, 0);
  }

  void send(Sync kind, std::string_view text = {}) { send_message(socket_.get(), kind, text); }
  pid_t pid() const { return process_.pid; }

  template <class F, class G>
  Process finish(F&& when_mounted, G&& with_listener) {
    bool executing = false;
    while (auto message = receive_message(socket_.get())) {
      switch (message->kind) {
        case Sync::failure:
          throw Error("{}", message->text);
        case Sync::warning:
          if (warn_)
            warn_(message->text);
          else
            warn("{}", message->text);
          break;
        case Sync::terminal:
          process_.terminal = std::move(message->fd);
          break;
        case Sync::mounted:
          when_mounted();
          break;
        case Sync::listener:
          with_listener(message->fd, process_);
          break;
        case Sync::executing:
          executing = true;
          break;
        case Sync::ready:
          return release();
        case Sync::mapped:
        case Sync::state:
        case Sync::ended:
          break;  // not for us
      }
    }
    if (executing) return release();
    Exit exit = wait_for(process_);
    process_.pid = -1;
    throw Error("cannot start the container: its first process ended early ({}{})", describe(exit),
                exit.signal == SIGKILL ? ": is the memory limit too small?" : "");
  }

 private:
  Process release() {
    Process done = std::move(process_);
    process_.pid = -1;
    return done;
  }

  Fd socket_;
  const Warn& warn_;
  Process process_;
};

void check_program(const ProcessSpec& process) {
  if (process.args.empty()) throw Error("cannot start a container: process.args is empty");
}

}  // namespace

Process start_container(const Spec& spec, const StartOptions& options) {
  check_program(spec.process);
  check_caller();
  Plan plan = make_plan(spec, options.bundle);
  SeccompFilter filter = cached_seccomp_filter(spec, options.seccomp_cache);
  SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
  Launch launch{.spec = spec,
                .process = spec.process,
                .filter = filter,
                .stdio = options.stdio,
                .preserve_fds = options.preserve_fds,
                .cgroup = options.cgroup,
                .socket = sockets.second.get(),
                .gate = options.gate,
                .keyring = options.keyring};
  std::optional<ChildNamespace> pid_namespace, time_namespace;
  if (!plan.join_pid.empty()) {
    Fd other = open_file(plan.join_pid, O_RDONLY);
    pid_namespace.emplace(CLONE_NEWPID, "/proc/self/ns/pid");
    check(setns(other.get(), CLONE_NEWPID), "cannot join namespace '{}'", plan.join_pid);
  }
  if (plan.new_time_namespace) {
    time_namespace.emplace(CLONE_NEWTIME, "/proc/self/ns/time");
    check(unshare(CLONE_NEWTIME), "cannot make a time namespace");
    write_time_offsets(spec.linux_.time_offsets);
  }
  BindSources sources;
  if (plan.clone_flags & CLONE_NEWUSER) sources = take_bind_sources(plan);
  pid_t pid = -1;
  Fd pidfd = clone_child(plan.clone_flags, options.cgroup, pid);
  if (pid == 0) run_first_process(launch, plan, options.bundle, options.root_switch, std::move(sources));
  Start start(pid, std::move(pidfd), std::move(sockets.first), options.warn);
  sockets.second.reset();
  if (plan.clone_flags & CLONE_NEWUSER) {
    write_mappings(pid, spec.linux_);
    start.send(Sync::mapped);
  }
  std::string state = to_text(ContainerState{options.id, "creating", pid, options.bundle, spec.annotations});
  return start.finish(
      [&] {
        run_hooks(spec.hooks.prestart, "prestart", state);
        run_hooks(spec.hooks.create_runtime, "createRuntime", state);
        start.send(Sync::state, state);
      },
      [&](const Fd& memory, const Process& process) {
        pass_listener(memory, process.pidfd, process.pid, spec.linux_.seccomp.value(), state);
      });
}

Process exec_in_container(const Spec& spec, const ProcessSpec& process, const ExecOptions& options) {
  check_program(process);
  check_caller();
  // First a hold on the process, then the question whether it is the right one: after that its number can't
  // be reused.
  Fd target{check(sys::pidfd_open(options.pid), "cannot find the container's process {}", options.pid)};
  if (options.start_time && process_start_time(options.pid) != options.start_time)
    throw Error("cannot find the container's process {}: the container has ended", options.pid);
  SeccompFilter filter = cached_seccomp_filter(spec, options.seccomp_cache);
  SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
  Fd root;
  if (!has_own_mounts(spec))
    root = open_file(fmt::format("/proc/{}/root", options.pid), O_PATH | O_DIRECTORY);
  Launch launch{.spec = spec,
                .process = process,
                .filter = filter,
                .stdio = options.stdio,
                .preserve_fds = options.preserve_fds,
                .cgroup = options.cgroup,
                .socket = sockets.second.get(),
                .keyring = Keyring::inherited,
                .root = root.get()};
  std::optional<ChildNamespace> pid_namespace;
  if (has_namespace(spec, NamespaceType::pid)) {
    pid_namespace.emplace(CLONE_NEWPID, "/proc/self/ns/pid");
    check(setns(target.get(), CLONE_NEWPID), "cannot join the container's pid namespace");
  }
  pid_t pid = -1;
  Fd pidfd = clone_child(0, options.cgroup, pid);
  if (pid == 0) run_joining_process(launch, target.get());
  Start start(pid, std::move(pidfd), std::move(sockets.first), options.warn);
  sockets.second.reset();
  std::string state =
      to_text(ContainerState{options.id, "running", options.pid, options.bundle, spec.annotations});
  return start.finish([] {},
                      [&](const Fd& memory, const Process& joined) {
                        pass_listener(memory, joined.pidfd, joined.pid, spec.linux_.seccomp.value(), state);
                      });
}

Exit wait_for(const Process& process) {
  siginfo_t info{};
  while (waitid(P_PIDFD, static_cast<id_t>(process.pidfd.get()), &info, WEXITED) < 0)
    if (errno != EINTR) throw SysError(errno, "cannot wait for process {}", process.pid);
  if (info.si_code == CLD_EXITED) return {.code = info.si_status};
  return {.signal = info.si_status};
}

std::optional<uint64_t> process_start_time(pid_t pid) {
  auto text = read_file_if_exists(fmt::format("/proc/{}/stat", pid));
  if (!text) return std::nullopt;
  size_t at = text->rfind(')');  // the program's name may hold spaces and parentheses
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  uint64_t ticks = 0;
  if (at == std::string::npos) return std::nullopt;
  auto [end, error] = std::from_chars(text->data() + at + 1, text->data() + text->size(), ticks);
  if (error != std::errc() || end == text->data() + at + 1) return std::nullopt;
  return ticks;
}

}  // namespace rayctl::run
