#include "run/process.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <climits>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "run/credentials.h"
#include "run/hooks.h"
#include "run/seccomp_listener.h"
#include "run/sync.h"
#include "run/syscalls.h"
#include "run/user.h"

namespace rayctl::run {

namespace {

// Everything that was inherited and would show in the container.
void leave_parent(const Launch& launch) {
  // Processes of the container must not look into this one before it is one of them (CVE-2016-9962).
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "cannot protect the process");
  // By the system call: glibc's posix_spawn leaves signals 32 and 33 ignored, and its sigaction refuses them.
  uint64_t by_default[4] = {};  // struct kernel_sigaction
  for (int signal = 1; signal < NSIG; ++signal)
    syscall(SYS_rt_sigaction, signal, by_default, nullptr, sizeof(uint64_t));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  check(setsid(), "cannot make a session");
  umask(0);
  unsigned first = 3 + static_cast<unsigned>(launch.preserve_fds);
  check(sys::close_range(first, ~0U, CLOSE_RANGE_CLOEXEC), "cannot mark file descriptors");
}

void place_stdio(const Stdio& stdio, int preserve_fds) {
  int high[3], wanted[3] = {stdio.in, stdio.out, stdio.err};
  for (int i = 0; i < 3; ++i)
    high[i] = check(fcntl(wanted[i], F_DUPFD_CLOEXEC, 3 + preserve_fds),
                    "cannot use file descriptor {} for stdio", wanted[i]);
  for (int i = 0; i < 3; ++i) check(dup2(high[i], i), "cannot place file descriptor {}", i);
}

// So that a program which isn't root can open /dev/stdout: pipes are ours to give, terminals and files
// aren't.
void give_stdio(uint32_t uid) {
  for (int fd = 0; fd < 3; ++fd) {
    struct stat info;
    if (uid && fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode))
      (void)!fchown(fd, uid, static_cast<gid_t>(-1));
  }
}

void join_cgroups(const CgroupEntry& cgroup) {
  for (int procs : cgroup.procs_files) check(write(procs, "0", 1), "cannot enter the cgroup");
}

void fresh_keyring() {
  // Kernels without keyrings and processes over their quota do without.
  syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "rayctl");
}

void bring_up_loopback() {
  Fd socket{check(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "cannot make a socket")};
  ifreq request{};
  memcpy(request.ifr_name, "lo", 3);
  check(ioctl(socket.get(), SIOCGIFFLAGS, &request), "cannot look at the loopback device");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  check(ioctl(socket.get(), SIOCSIFFLAGS, &request), "cannot bring the loopback device up");
}

// True when the working directory was entered. What getcwd then says must lie within the container: an fd of
// the host that leaked into /proc/self/fd would not (CVE-2024-21626).
bool enter_directory(const std::string& path) {
  if (chdir(path.c_str()) < 0) return false;
  char here[PATH_MAX];
  check(syscall(SYS_getcwd, here, sizeof here), "cannot enter '{}'", path);
  if (here[0] != '/') throw Error("cannot enter '{}': it is outside of the container", path);
  return true;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> found;
  for (const std::string& s : strings) found.push_back(const_cast<char*>(s.c_str()));
  found.push_back(nullptr);
  return found;
}

bool has_home(const std::vector<std::string>& env) {
  for (const std::string& entry : env)
    if (entry.starts_with("HOME=")) return true;
  return false;
}

std::string home_of(uint32_t uid) {
  Fd root = open_file("/", O_PATH | O_DIRECTORY);
  return resolve_user_in_root(std::to_string(uid), root.get()).home;
}

// The last stretch: inside the container, about to become its program.
class Finish {
 public:
  // `socket` is where errors go; it changes when the gate opens.
  Finish(const Launch& launch, int proc, int& socket)
      : launch_(launch), process_(launch.process), socket_(socket) {
    if (process_.oom_score_adj) apply_oom_score(proc, *process_.oom_score_adj, strictness(), warn());
    if (!process_.selinux_label.empty())
      throw Error("cannot use SELinux label '{}': rayctl has no support for SELinux", process_.selinux_label);
    if (!process_.apparmor_profile.empty() && process_.apparmor_profile != "unconfined")
      apparmor_ = open_apparmor(proc, process_.apparmor_profile);
    apply_rlimits(process_.rlimits, strictness(), warn());
  }

  Strictness strictness() const { return launch_.spec.strict ? Strictness::strict : Strictness::degrade; }
  Warn warn() const {
    return [this](const std::string& text) { send_message(socket_, Sync::warning, text); };
  }
  bool waited() const { return waited_; }
  void take_terminal(Terminal terminal) {
    if (!terminal.master) return;
    send_message(socket_, Sync::terminal, {}, terminal.master.get());
    check(fchown(terminal.slave.get(), process_.user.uid, static_cast<gid_t>(-1)),
          "cannot give the terminal away");
    use_terminal(terminal.slave.get());
  }

  [[noreturn]] void execute(const std::vector<Hook>& hooks, const std::string& state) {
    give_stdio(process_.user.uid);
    apply_scheduling(process_);
    if (launch_.spec.linux_.personality)
      check(personality(*launch_.spec.linux_.personality), "cannot set the personality");
    std::vector<std::string> env = process_.env;
    if (!has_home(env)) env.push_back("HOME=" + home_of(process_.user.uid));
    // First as root, which may enter what the user reaches only by luck of its parents; if root may not
    // (NFS), as the user.
    bool entered = enter_directory(process_.cwd);
    int code = errno;
    if (!entered && code != EACCES) throw SysError(code, "cannot enter '{}'", process_.cwd);
    std::string program = find_program(process_.args.at(0), env);
    if (launch_.gate >= 0) wait_at_gate();
    run_hooks(hooks, "startContainer", state);
    if (apparmor_) change_apparmor(apparmor_.get(), process_.apparmor_profile);
    auto argv = pointers(process_.args), envp = pointers(env);
    umask(process_.user.umask.value_or(022));
    apply_credentials(process_, strictness(), warn(), [&] { load(launch_.filter); });
    if (!entered && !enter_directory(process_.cwd)) throw SysError(errno, "cannot enter '{}'", process_.cwd);
    execve(program.c_str(), argv.data(), envp.data());
    code = errno;
    const char* hint = code == ENOENT    ? " (the file is there: its interpreter or loader is not)"
                       : code == ENOEXEC ? " (it is no program for this machine, or a script without '#!')"
                       : code == EAGAIN  ? " (the user has more processes than RLIMIT_NPROC allows)"
                                         : "";
    throw SysError(code, "cannot run '{}'{}", process_.args[0], hint);
  }

 private:
  // The filter may be one that stops this very talk: all is said before.
  void load(const SeccompFilter& filter) {
    std::optional<ListenerOffer> offer;
    if (filter.has_listener()) offer.emplace(socket_);
    send_message(socket_, Sync::executing);
    if (filter.program.empty()) return;
    int listener = load_filter(filter);
    if (offer) offer->wait_until_taken(listener);
  }

  void wait_at_gate() {
    waited_ = true;
    send_message(socket_, Sync::ready);
    Fd connection;
    do connection = Fd{accept4(launch_.gate, nullptr, nullptr, SOCK_CLOEXEC)};
    while (!connection && errno == EINTR);
    // From here on the one who opened the gate wants to know, not the one who made the container and left.
    socket_ = check(connection.release(), "cannot wait for the start");
  }

  const Launch& launch_;
  const ProcessSpec& process_;
  int& socket_;
  Fd apparmor_;
  bool waited_ = false;
};

// Where mounts outlive the process, a start that fails takes them away. Once the process waits at its gate,
// the container exists and its deletion does that.
class SharedMounts {
 public:
  SharedMounts(Rootfs& rootfs, const Finish& finish, const Spec& spec)
      : rootfs_(rootfs), finish_(finish), mine_(!has_own_mounts(spec)) {}
  SharedMounts(const SharedMounts&) = delete;
  ~SharedMounts() {
    if (mine_ && !finish_.waited()) rootfs_.take_off();
  }

 private:
  Rootfs& rootfs_;
  const Finish& finish_;
  bool mine_;
};

// Runs `body`, which should end in execve, and tells whoever listens why it did not.
template <class F>
[[noreturn]] void guarded(int socket, F&& body) {
  std::string text;
  try {
    body(socket);
  } catch (const std::exception& e) {
    text = e.what();
  }
  try {
    send_message(socket, Sync::failure, text);
  } catch (const std::exception&) {  // nobody listens any more
  }
  _exit(1);
}

Fd open_proc() {
  return open_file("/proc", O_PATH | O_DIRECTORY);
}

std::string expect(int socket, Sync kind) {
  auto message = receive_message(socket);
  if (!message || message->kind != kind) throw Error("cannot start the container: its parent went away");
  return message->text;
}

void become_root_of_user_namespace(int socket) {
  expect(socket, Sync::mapped);
  check(syscall(SYS_setresgid, 0, 0, 0), "cannot become group 0 of the user namespace");
  check(syscall(SYS_setresuid, 0, 0, 0), "cannot become user 0 of the user namespace");
  check(syscall(SYS_setgroups, 0, nullptr), "cannot leave the host's groups");
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "cannot protect the process");
}

void join_namespaces(const Plan& plan) {
  std::vector<Fd> opened;  // all before the first is joined: the paths are the host's
  for (const auto& join : plan.joins) opened.push_back(open_file(join.second, O_RDONLY));
  for (size_t i = 0; i < opened.size(); ++i)
    check(setns(opened[i].get(), plan.joins[i].first), "cannot join namespace '{}'", plan.joins[i].second);
}

CgroupMounts cgroups_for(const Plan& plan) {
  for (const Step& step : plan.steps)
    if (std::holds_alternative<MountCgroup>(step)) return observe_cgroup_mounts();
  return {};
}

void set_names(const Spec& spec) {
  if (!spec.hostname.empty())
    check(sethostname(spec.hostname.data(), spec.hostname.size()), "cannot set host name '{}'",
          spec.hostname);
  if (!spec.domainname.empty())
    check(setdomainname(spec.domainname.data(), spec.domainname.size()), "cannot set domain name '{}'",
          spec.domainname);
}

}  // namespace

void run_first_process(const Launch& launch, const Plan& plan, const std::string& bundle, RootSwitch how,
                       BindSources sources) {
  guarded(launch.socket, [&](int& socket) {
    const Spec& spec = launch.spec;
    leave_parent(launch);
    if (!launch.process.terminal) place_stdio(launch.stdio, launch.preserve_fds);
    if (plan.clone_flags & CLONE_NEWUSER) become_root_of_user_namespace(socket);
    join_namespaces(plan);
    join_cgroups(launch.cgroup);
    CgroupMounts cgroups = cgroups_for(plan);
    // Only now: the root of a cgroup namespace is the cgroup that its maker is in.
    if (plan.new_cgroup_namespace) check(unshare(CLONE_NEWCGROUP), "cannot make a cgroup namespace");
    if (launch.keyring == Keyring::fresh) fresh_keyring();
    if (plan.clone_flags & CLONE_NEWNET) bring_up_loopback();
    set_names(spec);
    Fd proc = open_proc();
    Finish finish(launch, proc.get(), socket);
    Rootfs rootfs(spec, plan, bundle, std::move(cgroups), std::move(sources));
    SharedMounts shared(rootfs, finish, spec);
    rootfs.run_steps();
    std::string state;
    if (wants_state(spec.hooks)) {
      send_message(socket, Sync::mounted);
      state = expect(socket, Sync::state);
      run_hooks(spec.hooks.create_container, "createContainer", state);
    }
    rootfs.enter(has_own_mounts(spec) ? how : RootSwitch::in_place);
    finish.take_terminal(std::move(rootfs.terminal()));
    finish.execute(spec.hooks.start_container, state);
  });
}

void run_joining_process(const Launch& launch, int target) {
  guarded(launch.socket, [&](int& socket) {
    leave_parent(launch);
    if (!launch.process.terminal) place_stdio(launch.stdio, launch.preserve_fds);
    join_cgroups(launch.cgroup);
    Fd proc = open_proc();
    Finish finish(launch, proc.get(), socket);
    int flags = 0;
    for (const Namespace& ns : launch.spec.linux_.namespaces)
      if (ns.type != NamespaceType::pid) flags |= clone_flag(ns.type);
    // All at once, so that the kernel checks permissions against the container as a whole; root and working
    // directory become those of its mount namespace.
    check(setns(target, flags), "cannot join the container's namespaces");
    if (launch.root >= 0) {
      check(fchdir(launch.root), "cannot enter the container's root");
      check(chroot("."), "cannot enter the container's root");
    }
    if (flags & CLONE_NEWUSER) {
      check(syscall(SYS_setresgid, 0, 0, 0), "cannot become group 0 of the user namespace");
      check(syscall(SYS_setresuid, 0, 0, 0), "cannot become user 0 of the user namespace");
      check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "cannot protect the process");
    }
    if (launch.keyring == Keyring::fresh) fresh_keyring();
    if (launch.process.terminal) {
      Fd root = open_file("/", O_PATH | O_DIRECTORY);
      finish.take_terminal(open_terminal(root.get(), launch.process.console_size));
    }
    finish.execute({}, {});
  });
}

std::string find_program(const std::string& name, const std::vector<std::string>& env) {
  if (name.empty()) throw Error("cannot run '': the program's name is empty");
  auto usable = [](const std::string& path, int& code) {
    struct stat info;
    if (stat(path.c_str(), &info) < 0) {
      code = errno;
      return false;
    }
    if (S_ISREG(info.st_mode) && (info.st_mode & 0111)) return true;
    code = S_ISDIR(info.st_mode) ? EISDIR : EACCES;
    return false;
  };
  int code = 0;
  if (name.find('/') != std::string::npos) {
    if (!usable(name, code)) throw SysError(code, "cannot run '{}'", name);
    return name;
  }
  std::string_view path;
  for (const std::string& entry : env)
    if (entry.starts_with("PATH=")) path = std::string_view(entry).substr(5);
  bool forbidden = false;
  while (!path.empty()) {
    size_t colon = path.find(':');
    std::string candidate = join(colon == 0 ? "." : path.substr(0, colon), name);
    if (usable(candidate, code)) return candidate;
    forbidden = forbidden || code == EACCES;
    path.remove_prefix(colon == std::string_view::npos ? path.size() : colon + 1);
  }
  if (forbidden) throw SysError(EACCES, "cannot run '{}'", name);
  throw Error("cannot run '{}': executable file not found in $PATH", name);
}

}  // namespace rayctl::run
