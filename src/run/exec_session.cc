#include "run/exec_session.h"

#include <sys/ioctl.h>
#include <termios.h>

#include <algorithm>

#include "base/error.h"

namespace rayctl::run {

namespace {

ShimReply expect_reply(Channel& channel) {
  auto frame = channel.wait_frame();
  if (!frame) throw Error("cannot reach the container: its shim has ended");
  ShimReply reply = parse_reply(frame->bytes);
  if (!reply.error.empty()) throw Error("{}", reply.error);
  return reply;
}

std::string_view name_of_entry(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

void set_entry(std::vector<std::string>& env, const std::string& entry) {
  for (std::string& old : env) {
    if (name_of_entry(old) == name_of_entry(entry)) {
      old = entry;
      return;
    }
  }
  env.push_back(entry);
}

}  // namespace

ExecSession::ExecSession(Fd socket, const ExecCall& call, const Stdio& stdio)
    : channel_(std::make_unique<Channel>(std::move(socket))) {
  std::vector<int> fds;
  if (!call.process.terminal && !call.detach) fds = {stdio.in, stdio.out, stdio.err};
  channel_->send_now(FrameKind::message, to_text(ShimRequest{call}), fds);
  ShimReply reply = expect_reply(*channel_);
  pid_ = reply.pid.value_or(-1);
  std::vector<Fd> received = channel_->take_fds();
  if (call.process.terminal && received.size() != 1) throw Error("cannot execute: no terminal came back");
  if (!received.empty()) terminal_ = std::move(received.front());
}

std::optional<ExecResult> ExecSession::take(const Frame& frame) {
  ShimReply reply = parse_reply(frame.bytes);
  if (!reply.error.empty()) throw Error("{}", reply.error);
  if (reply.exit) result_ = ExecResult{*reply.exit, reply.timed_out};
  return result_;
}

std::optional<ExecResult> ExecSession::poll() {
  if (result_) return result_;
  bool open = channel_->receive();
  while (auto frame = channel_->next())
    if (auto result = take(*frame)) return result;
  if (!open) throw Error("cannot wait for the process: the container's shim has ended");
  return std::nullopt;
}

std::optional<ExecResult> ExecSession::wait(std::optional<std::chrono::milliseconds> limit) {
  auto end = std::chrono::steady_clock::now() + limit.value_or(std::chrono::milliseconds(0));
  while (!result_) {
    std::optional<std::chrono::milliseconds> left;
    if (limit) {
      left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (left->count() <= 0) return poll();
    }
    auto frame = channel_->wait_frame(left);
    if (frame)
      take(*frame);
    else if (auto result = poll())  // throws when the other side has hung up
      return result;
  }
  return result_;
}

void ExecSession::signal(int signal) {
  channel_->send_now(FrameKind::message, to_text(ShimRequest{SignalCall{signal}}));
}

void ExecSession::resize(uint16_t rows, uint16_t columns) const {
  winsize size{};
  size.ws_row = rows;
  size.ws_col = columns;
  check(ioctl(terminal_.get(), TIOCSWINSZ, &size), "cannot resize the terminal");
}

Attachment::Attachment(Fd socket) : channel_(std::make_unique<Channel>(std::move(socket))) {
  channel_->send_now(FrameKind::message, to_text(ShimRequest{AttachCall{}}));
  expect_reply(*channel_);
}

std::optional<Frame> Attachment::next(std::optional<std::chrono::milliseconds> limit) {
  for (;;) {
    auto frame = channel_->wait_frame(limit);
    if (!frame || frame->kind != FrameKind::message) return frame;
    ShimReply reply = parse_reply(frame->bytes);
    if (!reply.error.empty()) throw Error("{}", reply.error);
  }
}

void Attachment::send(std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view part = bytes.substr(0, max_data);
    channel_->send_now(FrameKind::input, part);
    bytes.remove_prefix(part.size());
  }
}

void Attachment::close_input() {
  channel_->send_now(FrameKind::input, "");
}

void Attachment::resize(uint16_t rows, uint16_t columns) {
  channel_->send_now(FrameKind::message, to_text(ShimRequest{ResizeCall{rows, columns}}));
}

ProcessSpec exec_process(const Spec& spec, const ExecRequest& request, const User& user,
                         const std::string& home) {
  if (request.argv.empty()) throw Error("cannot execute: no program is given");
  ProcessSpec process = spec.process;
  process.args = request.argv;
  process.terminal = request.terminal;
  process.console_size = request.size;
  if (request.cwd) process.cwd = *request.cwd;
  if (request.user) {
    process.user = user;
    process.user.umask = spec.process.user.umask;
    set_entry(process.env, "HOME=" + home);
  }
  if (request.terminal) set_entry(process.env, "TERM=xterm");
  for (const std::string& entry : request.env) {
    if (entry.find('=') == std::string::npos || entry[0] == '=')
      throw Error("cannot execute: environment '{}' is not NAME=VALUE", entry);
    set_entry(process.env, entry);
  }
  return process;
}

}  // namespace rayctl::run
