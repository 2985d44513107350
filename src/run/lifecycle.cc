#include "run/lifecycle.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "run/sealed.h"
#include "run/syscalls.h"
#include "run/user.h"

namespace rayctl::run {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

void check_id(const std::string& id) {
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  bool good = !id.empty() && id.size() <= 64 && letter(id[0]) &&
              std::all_of(id.begin(), id.end(),
                          [&](char c) { return letter(c) || c == '_' || c == '.' || c == '-'; });
  if (!good)
    throw Error("cannot use container id '{}': it must be 1 to 64 letters, digits, '_', '.' or '-'",
                printable(id));
}

// Empty: that process has ended, or its number is another's now.
Fd open_process(const ProcessId& id) {
  Fd fd{sys::pidfd_open(id.pid)};
  if (!fd) {
    if (errno == ESRCH) return Fd{};
    throw SysError(errno, "cannot watch process {}", id.pid);
  }
  // Only now, with a hold on it, the question whether it is the right one.
  if (process_start_time(id.pid) != id.start_time) return Fd{};
  return fd;
}

bool wait_readable(int fd, std::optional<milliseconds> limit) {
  auto end = Clock::now() + limit.value_or(milliseconds(0));
  for (;;) {
    int64_t left = -1;
    if (limit)
      left = std::max<int64_t>(0, std::chrono::duration_cast<milliseconds>(end - Clock::now()).count());
    pollfd watched{fd, POLLIN, 0};
    int ready = ::poll(&watched, 1, static_cast<int>(std::min<int64_t>(left, 1 << 30)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
  }
}

// If it is our child it would stay a zombie; if not, somebody else reaps it.
void reap(int pidfd) {
  siginfo_t info{};
  (void)!waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
}

void write_in_place(const std::string& path, const std::string& text) {
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
  write_fd(fd.get(), text, path);
  check(ftruncate(fd.get(), static_cast<off_t>(text.size())), "cannot cut '{}'", path);
}

// `path` is a copy of another version beside `sealed`: both are <run dir>/sealed/<version>/rayctl.
bool is_sealed_copy(const std::string& path, const std::string& sealed) {
  auto above = [](const std::string& file) {
    size_t end = file.rfind('/');
    return end == std::string::npos || end == 0 ? file : file.substr(0, file.rfind('/', end - 1));
  };
  return path.substr(path.rfind('/') + 1) == sealed.substr(sealed.rfind('/') + 1) &&
         above(path) == above(sealed);
}

}  // namespace

ContainerDir ContainerDir::create(const std::string& containers, const Spec& spec,
                                  const ContainerOptions& options) {
  check_id(options.id);
  if (spec.linux_.cgroups_path.empty())
    throw Error("cannot create container '{}': its specification names no cgroup", options.id);
  make_directories(containers, 0700);
  ContainerDir made{absolute(join(containers, options.id)), options};
  // 0711: processes of the container that aren't root reach what is bind-mounted from here by its mount
  // alone.
  if (mkdir(made.path_.c_str(), 0700) < 0) throw SysError(errno, "cannot create container '{}'", options.id);
  try {
    replace_file(made.file("options.json"), to_text(options));
    made.set_spec(spec);
    replace_file(made.file("state.json"),
                 to_text(RunState{.created = WallClock::now(), .boot_id = boot_id()}));
    sync_directory(containers);
  } catch (...) {
    remove_tree(made.path_);
    throw;
  }
  return made;
}

ContainerDir ContainerDir::open(const std::string& containers, const std::string& id) {
  check_id(id);
  std::string path = absolute(join(containers, id));
  auto text = read_file_if_exists(join(path, "options.json"));
  if (!text) throw Error("cannot find container '{}': there is none in '{}'", id, containers);
  ContainerDir found{path, parse_options(*text, join(path, "options.json"))};
  if (found.options_.id != id)
    throw Error("cannot use '{}': it holds container '{}'", path, found.options_.id);
  return found;
}

std::vector<std::string> ContainerDir::list(const std::string& containers) {
  std::vector<std::string> found;
  if (!exists(containers)) return found;
  for (std::string& name : list_directory(containers))
    if (exists(join(join(containers, name), "options.json"))) found.push_back(std::move(name));
  return found;
}

Spec ContainerDir::spec() const {
  return parse_spec(Json::parse(read_file(file("spec.json")), file("spec.json")));
}

// It holds the environment, and with it secrets.
void ContainerDir::set_spec(const Spec& spec) {
  replace_file(file("spec.json"), to_text(spec), 0600);
}

// PID 1, and whatever else is bound from that copy, comes from the rayctl that starts it: the one that made
// the container may be gone since, by an upgrade or a boot of the machine.
void ContainerDir::use_init(const std::string& sealed) {
  Spec config = spec();
  bool changed = false;
  for (Mount& mount : config.mounts) {
    bool ours = mount.destination == init_path_in_container || is_sealed_copy(mount.source, sealed);
    if (!ours || mount.source == sealed) continue;
    mount.source = sealed;
    changed = true;
  }
  if (changed) set_spec(config);
}

Cgroup ContainerDir::cgroup() const {
  return Cgroup::open(spec().linux_.cgroups_path);
}

void ContainerDir::launch(const std::string& run_dir, milliseconds limit) {
  RunStatus now = adopt().status;
  if (now == RunStatus::running || now == RunStatus::starting)
    throw Error("cannot start container '{}': it is {}", id(), name_of(now));
  std::string sealed = sealed_binary(run_dir);
  use_init(sealed);
  Fd log = open_file(file("shim.log"), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW, 0600);
  Fd null = open_file("/dev/null", O_RDWR);
  Pipe report = make_pipe();
  Child shim = Child::spawn({.argv = {sealed, "shim", path_},
                             .env = std::vector<std::string>{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
                             .cwd = "/",
                             .in = null.get(),
                             .out = null.get(),
                             .err = log.get(),
                             .fds = {{report.write.get(), 3}},
                             .new_session = true});
  report.write.reset();
  std::string text;
  auto end = Clock::now() + limit;
  for (;;) {
    auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
    if (left.count() <= 0 || !wait_readable(report.read.get(), left)) {
      shim.kill(SIGKILL);
      shim.wait();
      adopt();
      throw Error("cannot start container '{}': it was not started within {}", id(), human_duration(limit));
    }
    char buffer[4096];
    ssize_t n = read(report.read.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  if (text == "ok") {
    watch_ = Fd{check(fcntl(shim.pidfd(), F_DUPFD_CLOEXEC, 3), "cannot watch the container's shim")};
    shim.release();
    return;
  }
  Exit exit = shim.wait();
  if (text.empty()) {
    adopt();
    text = fmt::format("its shim ended early ({}): {}", describe(exit), trim(read_file(file("shim.log"))));
  }
  throw Error("starting container '{}': {}", id(), text);
}

RunState ContainerDir::read_state() const {
  std::string path = file("state.json");
  return parse_state(read_file(path), path);
}

bool ContainerDir::shim_alive() const {
  if (!exists(file("lock"))) return false;
  return !FileLock::try_lock(file("lock"), LockKind::exclusive);
}

RunState ContainerDir::state() const {
  RunState state = read_state();
  bool active = state.status == RunStatus::running || state.status == RunStatus::starting;
  if (active && !shim_alive()) {
    state = read_state();  // it may have ended in between
    if (state.status != RunStatus::created) state.status = RunStatus::stopped;
  }
  return state;
}

std::optional<ContainerExit> ContainerDir::exit() const {
  auto text = read_file_if_exists(file("exit.json"));
  if (!text) return std::nullopt;
  return parse_exit(*text, file("exit.json"));
}

RunState ContainerDir::adopt() {
  if (watch_ && wait_readable(watch_.get(), milliseconds(0))) {
    reap(watch_.get());
    watch_.reset();
  }
  RunState state = read_state();
  if (state.status == RunStatus::created || state.status == RunStatus::stopped) return state;
  std::optional<FileLock> lock;
  // A start that a former supervisor began is soon a running container, or none.
  for (auto end = Clock::now() + std::chrono::seconds(10);; poll(nullptr, 0, 20)) {
    lock = FileLock::try_lock(file("lock"), LockKind::exclusive);
    state = read_state();
    if (lock || state.status != RunStatus::starting || Clock::now() > end) break;
  }
  if (!lock) return state;  // its shim is alive
  if (state.status == RunStatus::starting || state.status == RunStatus::running) record_lost(state);
  return state;
}

// With the lock held: no shim will write here.
void ContainerDir::record_lost(RunState& state) {
  bool same_boot = state.boot_id == boot_id();
  bool recorded = exists(file("exit.json"));
  ContainerExit lost{.signal = SIGKILL,
                     .error = same_boot ? "its shim was killed" : "the machine went down",
                     .started = state.started,
                     .finished = WallClock::now()};
  if (same_boot) {
    Cgroup left = cgroup();
    CgroupStats stats = left.stats();
    lost.oom_kills = stats.oom_kills;
    lost.memory_peak = stats.memory_peak;
    lost.cpu = stats.cpu;
    if (Fd init = open_init(state)) sys::pidfd_send_signal(init.get(), SIGKILL);
    left.kill();
    left.remove();
  }
  unlink(file("exit.json.reserve").c_str());  // its space is now free for:
  if (!recorded) replace_file(file("exit.json"), to_text(lost));
  unlink(file("shim.sock").c_str());
  state.status = RunStatus::stopped;
  try {
    replace_file(file("state.json"), to_text(state));
  } catch (const SysError& e) {
    // A full disk: exit.json and the free lock say the same.
    warn("{}", e.message());
  }
}

Fd ContainerDir::open_init(const RunState& state) const {
  if (!state.init || state.boot_id != boot_id()) return Fd{};
  return open_process(*state.init);
}

int ContainerDir::watch_fd() {
  if (!watch_) {
    RunState state = read_state();
    bool active = state.status == RunStatus::running || state.status == RunStatus::starting;
    if (active && state.shim && state.boot_id == boot_id()) watch_ = open_process(*state.shim);
  }
  return watch_.get();
}

std::optional<ContainerExit> ContainerDir::wait(std::optional<milliseconds> limit) {
  int fd = watch_fd();
  if (fd >= 0 && !wait_readable(fd, limit)) return std::nullopt;
  adopt();
  auto found = exit();
  if (!found) throw Error("cannot wait for container '{}': it was never started", id());
  return found;
}

Fd ContainerDir::connect() const {
  // The directory by its descriptor: a socket's address has room for 107 bytes only.
  Fd directory = open_file(path_, O_PATH | O_DIRECTORY);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = ""};
  auto end = fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/shim.sock",
                              directory.get());
  *end.out = '\0';
  Fd socket{check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "cannot make a socket")};
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    int code = errno;
    if (code == ENOENT || code == ECONNREFUSED)
      throw Error("cannot reach container '{}': it is not running", id());
    throw SysError(code, "cannot reach container '{}'", id());
  }
  return socket;
}

void ContainerDir::request_stop(milliseconds grace) {
  Channel channel(connect());
  channel.send_now(FrameKind::message, to_text(ShimRequest{StopCall{options_.stop_signal, grace}}));
  // The answer or, when it ends at once, the hang-up.
  channel.wait_frame(std::chrono::seconds(10));
}

ContainerExit ContainerDir::stop(milliseconds grace) {
  watch_fd();
  if (adopt().status == RunStatus::running) {
    try {
      request_stop(grace);
    } catch (const Error&) {
      if (running()) throw;
    }
    if (!wait(grace + std::chrono::seconds(15)))
      throw Error("cannot stop container '{}': a process in it can't be killed", id());
  }
  if (auto found = exit()) return *found;
  throw Error("cannot stop container '{}': it was never started", id());
}

void ContainerDir::signal(int signal) const {
  Fd init = open_init(read_state());
  if (!init) throw Error("cannot send a signal to container '{}': it is not running", id());
  check(sys::pidfd_send_signal(init.get(), signal), "cannot send signal {} to container '{}'", signal, id());
}

CgroupStats ContainerDir::stats() const {
  return cgroup().stats();
}

void ContainerDir::freeze() const {
  if (!running()) throw Error("cannot pause container '{}': it is not running", id());
  cgroup().freeze();
}

void ContainerDir::thaw() const {
  if (!running()) throw Error("cannot resume container '{}': it is not running", id());
  cgroup().thaw();
}

void ContainerDir::remove() {
  RunState state = adopt();
  if (state.status == RunStatus::running || state.status == RunStatus::starting) stop(milliseconds(0));
  std::string cgroups_path = spec().linux_.cgroups_path;
  Cgroup left = Cgroup::open(cgroups_path);
  if (left.exists()) {
    left.kill();
    left.remove();
  }
  // The shims' cgroup and the parent of both, when this was the last one there.
  std::string parent = cgroups_path.substr(0, cgroups_path.rfind('/'));
  for (const std::string& path :
       {options_.shim_cgroup.empty() ? parent + "/shims" : options_.shim_cgroup, parent})
    if (!path.empty()) Cgroup::open(path).remove_unused();
  watch_.reset();
  // Renamed first: half-removed, it is no container any more.
  std::string doomed = path_ + ".removed";
  remove_tree(doomed);
  check(rename(path_.c_str(), doomed.c_str()), "cannot remove container '{}'", id());
  unlink(join(doomed, "options.json").c_str());
  remove_tree(doomed);
}

ExecSession ContainerDir::exec(const ExecRequest& request) const {
  RunState now = read_state();
  Spec config = spec();
  User user = config.process.user;
  std::string home;
  if (request.user) {
    if (!open_init(now)) throw Error("cannot execute in container '{}': it is not running", id());
    Fd root = open_file(fmt::format("/proc/{}/root", now.init->pid), O_PATH | O_DIRECTORY);
    ResolvedUser resolved = resolve_user_in_root(*request.user, root.get());
    user.uid = resolved.uid;
    user.gid = resolved.gid;
    user.additional_gids = resolved.additional_gids;
    home = resolved.home;
  }
  ExecCall call{.process = exec_process(config, request, user, home),
                .detach = request.detach,
                .timeout = request.timeout};
  return ExecSession(connect(), call, request.stdio);
}

Attachment ContainerDir::attach() const {
  return Attachment(connect());
}

std::vector<Bind> ContainerDir::write_network_files(const std::string& hosts,
                                                    const std::string& resolv_conf) const {
  write_in_place(file("hosts"), hosts);
  write_in_place(file("resolv.conf"), resolv_conf);
  std::string hostname = spec().hostname;
  write_in_place(file("hostname"), (hostname.empty() ? id() : hostname) + "\n");
  return {{file("hosts"), "/etc/hosts", false},
          {file("resolv.conf"), "/etc/resolv.conf", false},
          {file("hostname"), "/etc/hostname", false}};
}

}  // namespace rayctl::run
