#include "run/shim.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <csignal>
#include <functional>
#include <list>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "run/container_state.h"
#include "run/footprint.h"
#include "run/shim_session.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int report_fd = 3;
constexpr size_t most_sessions = 256;
constexpr auto oom_window = 30s;  // an OOM kill this long before the end counts as its cause
constexpr auto signalled_grace = 10s;

void set_non_blocking(int fd) {
  int flags = check(fcntl(fd, F_GETFL), "cannot set up a pipe");
  check(fcntl(fd, F_SETFL, flags | O_NONBLOCK), "cannot set up a pipe");
}

ProcessId identify(pid_t pid) {
  return {pid, process_start_time(pid).value_or(0)};
}

std::string default_shim_cgroup(const std::string& container) {
  return container.substr(0, container.rfind('/')) + "/shims";
}

// Space for exit.json is taken at the start: a full disk, a common reason to end, must not hide how.
class ExitFile {
 public:
  explicit ExitFile(const std::string& directory)
      : directory_(directory), reserve_(join(directory, "exit.json.reserve")) {
    unlink(join(directory, "exit.json").c_str());
    fd_ = open_file(reserve_, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    int code = posix_fallocate(fd_.get(), 0, 4096);
    if (code != 0 && code != EOPNOTSUPP) throw SysError(code, "cannot reserve space for '{}'", reserve_);
  }

  void write(const ContainerExit& exit) {
    std::string text = to_text(exit);
    ssize_t n = pwrite(fd_.get(), text.data(), text.size(), 0);
    if (n != static_cast<ssize_t>(text.size())) throw SysError(errno, "cannot write '{}'", reserve_);
    check(ftruncate(fd_.get(), n), "cannot cut '{}'", reserve_);
    check(fsync(fd_.get()), "cannot sync '{}'", reserve_);
    check(rename(reserve_.c_str(), join(directory_, "exit.json").c_str()), "cannot rename '{}'", reserve_);
    sync_directory(directory_);
  }

 private:
  std::string directory_, reserve_;
  Fd fd_;
};

class Shim {
 public:
  explicit Shim(const std::string& directory)
      : directory_(directory),
        options_(parse_options(read_file(join(directory, "options.json")), "options.json")),
        spec_(parse_spec(Json::parse(read_file(join(directory, "spec.json")), "spec.json"))),
        lock_(take_lock(directory)),
        exit_file_(directory),
        log_(directory, options_.log) {
    auto old = read_file_if_exists(join(directory, "state.json"));
    if (old) state_ = parse_state(*old, "state.json");
    state_.status = RunStatus::starting;
    state_.started.reset();
    state_.init.reset();
    state_.oom_kills = 0;
    state_.shim = identify(getpid());
    state_.boot_id = boot_id();
  }

  void start() {
    const std::string& path = spec_.linux_.cgroups_path;
    join_cgroup(options_.shim_cgroup.empty() ? default_shim_cgroup(path) : options_.shim_cgroup);
    save_state();
    block_signals();
    listen();
    try {
      cgroup_ = Cgroup::create(path, spec_.linux_.resources,
                               spec_.strict ? MissingController::fail : MissingController::warn);
      start_process();
    } catch (const std::exception& e) {
      record_failure(e.what());
      throw;
    }
  }

  void serve() {
    while (!ended_) {
      try {
        turn();
      } catch (const std::exception& e) {
        // Whatever fails, the container's output must be taken and its end recorded.
        warn("{}", e.what());
      }
    }
    finish();
  }

 private:
  static FileLock take_lock(const std::string& directory) {
    // Whoever only asks whether a shim lives holds the lock for a moment.
    for (int tries = 0; tries < 20; ++tries) {
      if (auto lock = FileLock::try_lock(join(directory, "lock"), LockKind::exclusive))
        return std::move(*lock);
      poll(nullptr, 0, 10);
    }
    throw Error("cannot start the container: it has a shim already");
  }

  void save_state() noexcept {
    try {
      replace_file(join(directory_, "state.json"), to_text(state_));
    } catch (const std::exception& e) {
      log_line(Level::warn, e.what());
    }
  }

  void block_signals() {
    sigset_t all, term;
    sigfillset(&all);
    check(sigprocmask(SIG_SETMASK, &all, nullptr), "cannot block signals");
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    signals_ = Fd{check(signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK), "cannot watch for signals")};
  }

  // The working directory is DIR: a socket's address has room for 107 bytes only.
  void listen() {
    check(chdir(directory_.c_str()), "cannot enter '{}'", directory_);
    unlink("shim.sock");
    listener_ =
        Fd{check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "cannot make a socket")};
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = "shim.sock"};
    mode_t before = umask(0177);
    int rc = bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    umask(before);
    check(rc, "cannot bind '{}/shim.sock'", directory_);
    check(::listen(listener_.get(), 64), "cannot listen on '{}/shim.sock'", directory_);
  }

  void start_process() {
    StartOptions options{.id = options_.id, .bundle = directory_, .cgroup = cgroup_->entry()};
    Fd null = open_file("/dev/null", O_RDWR);
    Pipe in, out, err;
    if (!spec_.process.terminal) {
      out = make_pipe();
      err = make_pipe();
      if (options_.open_stdin) in = make_pipe();
      options.stdio = {in.read ? in.read.get() : null.get(), out.write.get(), err.write.get()};
    }
    process_ = start_container(spec_, options);
    cgroup_->close_entry();
    started_ = WallClock::now();
    if (process_.terminal) {
      terminal_ = process_.terminal.get();
      input_ = process_.terminal.duplicate();
      set_non_blocking(terminal_);
      output_[0] = std::move(process_.terminal);
    } else {
      output_[0] = std::move(out.read);
      output_[1] = std::move(err.read);
      for (Fd& fd : output_) {
        set_non_blocking(fd.get());
        (void)fcntl(fd.get(), F_SETPIPE_SZ, 256 << 10);  // more than the usual 64 KiB, when the quota allows
      }
      input_ = std::move(in.write);
      if (input_) set_non_blocking(input_.get());
    }
    oom_watch_.emplace(*cgroup_);
    state_.status = RunStatus::running;
    state_.started = started_;
    state_.init = identify(process_.pid);
    save_state();
    context_.emplace(ShimContext{.spec = spec_,
                                 .cgroup = *cgroup_,
                                 .init = process_.pid,
                                 .init_start_time = state_.init->start_time,
                                 .terminal = terminal_,
                                 .input = input_});
  }

  void record_failure(const std::string& why) noexcept {
    try {
      if (process_.pid > 0) {
        cgroup_->kill();
        wait_for(process_);
      }
      if (cgroup_) cgroup_->remove();
    } catch (const std::exception& e) {
      log_line(Level::warn, e.what());
    }
    ContainerExit exit{.code = 128, .error = why, .finished = WallClock::now()};
    record(exit);
  }

  void record(const ContainerExit& exit) noexcept {
    try {
      exit_file_.write(exit);
    } catch (const std::exception& e) {
      log_line(Level::warn, e.what());
    }
    state_.status = RunStatus::stopped;
    save_state();
    unlink("shim.sock");
  }

  // One round: waits for whatever comes next, and does it.
  void turn() {
    std::vector<pollfd> watched;
    std::vector<std::function<void(short)>> handlers;
    auto on = [&](int fd, short events, std::function<void(short)> handler) {
      if (fd < 0) return;
      watched.push_back({fd, events, 0});
      handlers.push_back(std::move(handler));
    };
    on(process_.pidfd.get(), POLLIN, [this](short) { ended_ = true; });
    for (int i = 0; i < 2; ++i) on(output_[i].get(), POLLIN, [this, i](short) { take_output(i); });
    on(signals_.get(), POLLIN, [this](short) {
      signalfd_siginfo info;
      while (read(signals_.get(), &info, sizeof info) > 0)
        begin_stop({options_.stop_signal, signalled_grace});
    });
    // Events may come by the thousand under memory pressure, and v1 tells before the kill is counted: look a
    // little later.
    if (!oom_check_at_) on(oom_watch_->fd(), POLLIN, [this](short) { expect_oom(); });
    if (sessions_.size() < most_sessions) on(listener_.get(), POLLIN, [this](short) { accept_client(); });
    bool input_wanted = false;
    for (ShimSession& session : sessions_) {
      on(session.fd(), session.events(), [&session](short revents) { session.on_client(revents); });
      on(session.exec_fd(), POLLIN, [&session](short) { session.on_exec_ended(); });
      input_wanted = input_wanted || session.waits_for_input();
    }
    if (input_wanted)
      on(input_.get(), POLLOUT, [this](short) {
        for (ShimSession& session : sessions_)
          if (session.waits_for_input()) session.on_input_ready();
      });

    if (poll(watched.data(), watched.size(), time_left()) < 0) return;
    for (size_t i = 0; i < watched.size(); ++i)
      if (watched[i].revents) handlers[i](watched[i].revents);
    if (context_->stop) begin_stop(*std::exchange(context_->stop, std::nullopt));
    auto now = Clock::now();
    for (ShimSession& session : sessions_)
      if (session.deadline() && *session.deadline() <= now) session.on_deadline();
    if (oom_check_at_ && *oom_check_at_ <= now) note_oom();
    if (kill_at_ && *kill_at_ <= now) {
      kill_at_ = now + 5s;  // again, should something be stuck
      cgroup_->kill(1s);
    }
    sessions_.remove_if([](const ShimSession& session) { return session.finished(); });
  }

  // For poll: until the nearest deadline.
  int time_left() const {
    std::optional<Clock::time_point> next = kill_at_;
    auto consider = [&](const std::optional<Clock::time_point>& d) {
      if (d && (!next || *d < *next)) next = d;
    };
    consider(oom_check_at_);
    for (const ShimSession& session : sessions_) consider(session.deadline());
    if (!next) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count();
    return static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30));
  }

  enum class Taken { some, nothing_now, all };

  Taken take_output(int i) {
    char buffer[64 << 10];
    ssize_t n = read(output_[i].get(), buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Taken::nothing_now;
    if (n <= 0) {  // a pty whose last user has closed it says EIO
      output_[i].reset();
      return Taken::all;
    }
    std::string_view bytes(buffer, static_cast<size_t>(n));
    log_.write(i == 0 ? Stream::out : Stream::err, bytes);
    for (ShimSession& session : sessions_)
      session.output(i == 0 ? FrameKind::output : FrameKind::errors, bytes);
    return Taken::some;
  }

  void accept_client() {
    Fd client{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!client) return;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return;
    if (peer.uid != 0 && peer.uid != geteuid()) return;
    sessions_.emplace_back(std::move(client), *context_);
  }

  void begin_stop(const StopCall& call) {
    stop_requested_ = true;
    auto at = Clock::now() + call.grace;
    if (!kill_at_ || at < *kill_at_) kill_at_ = at;
    if (call.grace <= 0ms) return;
    if (cgroup_->frozen()) cgroup_->thaw();
    sys::pidfd_send_signal(process_.pidfd.get(), call.signal);
  }

  void expect_oom() {
    oom_watch_->drain();
    oom_check_at_ = Clock::now() + 50ms;
    oom_checks_ = 5;
  }

  void note_oom() {
    oom_check_at_.reset();
    uint64_t kills = cgroup_->stats().oom_kills;
    if (kills == state_.oom_kills) {
      if (--oom_checks_ > 0) oom_check_at_ = Clock::now() + 100ms;
      return;
    }
    state_.oom_kills = kills;
    last_oom_ = Clock::now();
    save_state();
  }

  void finish() {
    Exit exit = wait_for(process_);
    ContainerExit record_{.code = exit.code,
                          .signal = exit.signal,
                          .stop_requested = stop_requested_,
                          .started = started_,
                          .finished = WallClock::now()};
    try {
      cgroup_->kill();  // without a pid namespace, PID 1 takes nobody along
    } catch (const std::exception& e) {
      warn("{}", e.what());
    }
    drain_output();
    try {
      CgroupStats stats = cgroup_->stats();
      if (stats.oom_kills != state_.oom_kills) last_oom_ = Clock::now();
      record_.oom_kills = stats.oom_kills;
      record_.memory_peak = stats.memory_peak;
      record_.cpu = stats.cpu;
      record_.oom = last_oom_ && Clock::now() - *last_oom_ < oom_window && exit.code != 0 && !stop_requested_;
    } catch (const std::exception& e) {
      warn("{}", e.what());
    }
    for (ShimSession& session : sessions_) session.container_ended();
    try {
      cgroup_->remove();
    } catch (const std::exception& e) {
      warn("{}", e.what());
    }
    log_.sync();
    record(record_);
    sessions_.clear();
  }

  // Every writer is dead: what the pipes hold is the rest. The limit is for a descriptor that was passed
  // elsewhere.
  void drain_output() {
    auto end = Clock::now() + 2s;
    for (int i = 0; i < 2; ++i) {
      while (output_[i] && Clock::now() < end) {
        if (take_output(i) != Taken::nothing_now) continue;
        pollfd watched{output_[i].get(), POLLIN, 0};
        poll(&watched, 1, 20);
      }
    }
  }

  std::string directory_;
  ContainerOptions options_;
  Spec spec_;
  FileLock lock_;
  ExitFile exit_file_;
  LogWriter log_;
  RunState state_;
  Fd signals_, listener_;
  std::optional<Cgroup> cgroup_;
  Process process_;
  WallClock::time_point started_ = {};
  Fd output_[2];
  Fd input_;
  int terminal_ = -1;
  std::optional<OomWatch> oom_watch_;
  std::optional<ShimContext> context_;
  std::list<ShimSession> sessions_;
  std::optional<Clock::time_point> last_oom_, kill_at_, oom_check_at_;
  int oom_checks_ = 0;
  bool stop_requested_ = false, ended_ = false;
};

void report(std::string_view text) {
  Fd fd{report_fd};
  (void)!write(fd.get(), text.data(), text.size());  // who started it may have gone
}

}  // namespace

int shim_main(int argc, char** argv) {
  if (argc != 2) {
    log_failure("usage: rayctl shim DIR (it is started by rayctl itself)");
    return static_cast<int>(ExitCode::usage);
  }
  std::optional<Shim> shim;
  try {
    check(fcntl(report_fd, F_SETFD, FD_CLOEXEC), "cannot report to who started the shim");
    shim.emplace(absolute(argv[1]));
    shim->start();
  } catch (const std::exception& e) {
    log_failure(e.what());
    report(e.what());
    return static_cast<int>(ExitCode::failure);
  }
  report("ok");
  release_code_pages();
  shim->serve();
  return 0;
}

}  // namespace rayctl::run
