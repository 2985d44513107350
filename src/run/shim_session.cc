#include "run/shim_session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "run/footprint.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

// A client that is this far behind the container's output is cut off: the log has everything.
constexpr size_t most_unsent = 1 << 20;

}  // namespace

ShimSession::~ShimSession() {
  if (!exec_) return;
  kill_exec();
  int reaped = static_cast<int>(
      waitid(P_PIDFD, static_cast<id_t>(exec_->process.pidfd.get()), nullptr, WEXITED | WNOHANG));
  static_cast<void>(reaped);  // a destructor: there is nobody to tell
}

short ShimSession::events() const {
  if (!connected_) return 0;
  return static_cast<short>((pending_input_.empty() ? POLLIN : 0) | (channel_.unsent() ? POLLOUT : 0));
}

std::optional<ShimSession::Clock::time_point> ShimSession::deadline() const {
  return exec_ ? exec_->deadline : std::nullopt;
}

void ShimSession::on_client(short revents) {
  try {
    if ((revents & POLLOUT) && !channel_.flush()) return hang_up();
    if (!(revents & (POLLIN | POLLHUP | POLLERR))) return;
    bool open = channel_.receive();
    handle_frames();
    if (!open) hang_up();
  } catch (const Error& e) {
    refuse(e);
  }
}

// One frame of input at a time: the rest waits in the channel, and the client with it.
void ShimSession::handle_frames() {
  while (pending_input_.empty()) {
    auto frame = channel_.next();
    if (!frame) return;
    handle(*frame);
  }
}

// A malformed request: said once, then the connection is of no use.
void ShimSession::refuse(const Error& error) {
  reply({.error = error.message()});
  hang_up();
}

void ShimSession::hang_up() {
  connected_ = false;
  if (!exec_) {
    finished_ = true;
  } else if (!exec_->detached) {
    // Nobody waits for it any more; without this a probe that timed out would run on.
    kill_exec();
  }
}

void ShimSession::kill_exec() {
  try {
    exec_->cgroup.kill(std::chrono::seconds(1));
  } catch (const Error& e) {
    // Uninterruptible sleep: it dies when the kernel lets it, and is reaped then.
    warn("{}", e.message());
  }
}

void ShimSession::reply(const ShimReply& reply, int fd) {
  if (connected_) channel_.send(FrameKind::message, to_text(reply), fd);
}

void ShimSession::handle(const Frame& frame) {
  if (frame.kind == FrameKind::input && attached_) {
    if (frame.bytes.empty()) input_ends_ = true;
    return feed(frame.bytes);
  }
  if (frame.kind != FrameKind::message) throw Error("cannot take input: not attached");
  ShimRequest request = parse_request(frame.bytes);
  if (auto* exec = std::get_if<ExecCall>(&request)) {
    if (exec_ || attached_) throw Error("cannot execute: this connection is in use");
    try {
      start_exec(*exec);
    } catch (const Error& e) {
      exec_.reset();
      reply({.error = e.message()});
    }
  } else if (std::get_if<AttachCall>(&request)) {
    if (exec_) throw Error("cannot attach: this connection is in use");
    attached_ = true;
    reply({});
  } else if (auto* stop = std::get_if<StopCall>(&request)) {
    context_.stop = *stop;
    reply({});
  } else if (auto* signal = std::get_if<SignalCall>(&request)) {
    if (!exec_) throw Error("cannot send a signal: nothing was executed on this connection");
    // ESRCH: it has just ended, which the client will hear of.
    if (sys::pidfd_send_signal(exec_->process.pidfd.get(), signal->signal) < 0 && errno != ESRCH)
      reply({.error = fmt::format("cannot send signal {}: {}", signal->signal, SysError::describe(errno))});
  } else if (auto* resize = std::get_if<ResizeCall>(&request)) {
    if (context_.terminal < 0) throw Error("cannot resize: the container has no terminal");
    winsize size{};
    size.ws_row = resize->rows;
    size.ws_col = resize->columns;
    check(ioctl(context_.terminal, TIOCSWINSZ, &size), "cannot resize the container's terminal");
    reply({});
  }
}

void ShimSession::start_exec(const ExecCall& call) {
  std::vector<Fd> fds = channel_.take_fds();
  bool own_stdio = !call.process.terminal && !call.detach;
  if (fds.size() != (own_stdio ? 3u : 0u))
    throw Error("cannot execute: {} descriptors came with the request, not {}", fds.size(),
                own_stdio ? 3 : 0);
  if (context_.cgroup.frozen()) throw Error("cannot execute: the container is paused");
  if (!own_stdio)
    for (int i = 0; i < 3; ++i) fds.push_back(open_file("/dev/null", O_RDWR));
  Cgroup cgroup = context_.cgroup.child(fmt::format("exec-{}", ++context_.execs));
  try {
    ExecOptions options{.pid = context_.init,
                        .start_time = context_.init_start_time,
                        .stdio = {fds[0].get(), fds[1].get(), fds[2].get()},
                        .cgroup = cgroup.entry()};
    Process process = exec_in_container(context_.spec, call.process, options);
    exec_.emplace(Exec{.process = std::move(process), .cgroup = std::move(cgroup), .detached = call.detach});
  } catch (...) {
    cgroup.remove();
    throw;
  }
  exec_->cgroup.close_entry();
  if (call.timeout) exec_->deadline = Clock::now() + *call.timeout;
  reply({.pid = exec_->process.pid}, exec_->process.terminal.get());
  // The client's from here on: it ends when the process and the client have closed it.
  exec_->process.terminal.reset();
  release_code_pages();
}

void ShimSession::on_exec_ended() {
  if (!exec_) return;
  Exit exit = wait_for(exec_->process);
  try {
    // What it left in the background goes on, as in docker; not after a timeout.
    if (exec_->timed_out) kill_exec();
    if (!exec_->cgroup.populated()) exec_->cgroup.remove();
  } catch (const Error& e) {  // it goes with the container's cgroup
    warn("{}", e.message());
  }
  reply({.exit = exit, .timed_out = exec_->timed_out});
  exec_.reset();
  if (!connected_ || !channel_.unsent()) finished_ = true;
}

void ShimSession::on_deadline() {
  exec_->deadline.reset();
  exec_->timed_out = true;
  kill_exec();
}

void ShimSession::feed(std::string_view bytes) {
  pending_input_ += bytes;
  on_input_ready();
}

void ShimSession::on_input_ready() {
  try {
    while (!pending_input_.empty()) {
      // Input for a container that has closed its stdin, or never had one, is dropped.
      ssize_t n = context_.input ? ::write(context_.input.get(), pending_input_.data(), pending_input_.size())
                                 : static_cast<ssize_t>(pending_input_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) n = static_cast<ssize_t>(pending_input_.size());
      pending_input_.erase(0, static_cast<size_t>(n));
    }
    // A terminal has no end of input but the character for it.
    if (input_ends_ && context_.terminal < 0) context_.input.reset();
    input_ends_ = false;
    handle_frames();
  } catch (const Error& e) {
    refuse(e);
  }
}

void ShimSession::output(FrameKind kind, std::string_view bytes) {
  if (!attached_ || !connected_) return;
  while (!bytes.empty()) {
    std::string_view part = bytes.substr(0, max_data);
    channel_.send(kind, part);
    bytes.remove_prefix(part.size());
  }
  if (channel_.unsent() > most_unsent) hang_up();
}

void ShimSession::container_ended() {
  if (exec_) {
    kill_exec();
    on_exec_ended();
  }
  // What is still to be said to a client that reads.
  for (int round = 0; connected_ && channel_.unsent() && round < 20; ++round) {
    pollfd ready{channel_.fd(), POLLOUT, 0};
    poll(&ready, 1, 50);
    if (!channel_.flush()) break;
  }
  finished_ = true;
}

}  // namespace rayctl::run
