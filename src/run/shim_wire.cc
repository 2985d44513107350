#include "run/shim_wire.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::run {

namespace {

constexpr size_t header_size = 5;  // kind, length (little-endian)
constexpr size_t most_fds = 3;

std::string header(FrameKind kind, size_t length) {
  std::string text(1, static_cast<char>(kind));
  for (int i = 0; i < 4; ++i) text += static_cast<char>(length >> (8 * i) & 0xff);
  return text;
}

// Sends as much as the socket takes, the descriptors with the first byte. Negative: errno.
ssize_t send_with(int socket, std::string_view bytes, const std::vector<int>& fds) {
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(most_fds * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  for (;;) {
    ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (n >= 0 || errno != EINTR) return n;
  }
}

nlohmann::json exit_json(const Exit& exit) {
  nlohmann::json json = nlohmann::json::object();
  if (exit.code) json["code"] = *exit.code;
  if (exit.signal) json["signal"] = *exit.signal;
  return json;
}

int bounded(const Json& value, uint64_t most) {
  if (value.size() > most) throw Error("{}: at most {}", value.path(), most);
  return static_cast<int>(value.size());
}

std::chrono::milliseconds milliseconds_of(const Json& value) {
  return std::chrono::milliseconds(bounded(value, INT32_MAX));
}

}  // namespace

Channel::Channel(Fd socket) : socket_(std::move(socket)) {
  int flags = check(fcntl(socket_.get(), F_GETFL), "cannot set up a connection");
  check(fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK), "cannot set up a connection");
}

bool Channel::receive() {
  char buffer[64 << 10];
  while (in_.size() < max_message + header_size) {
    iovec part{buffer, sizeof buffer};
    alignas(cmsghdr) char control[CMSG_SPACE(most_fds * sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t n = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        fds_.emplace_back(fd);
      }
    }
    if (fds_.size() > most_fds || (message.msg_flags & MSG_CTRUNC))
      throw Error("cannot read a request: more than {} descriptors", most_fds);
    in_.append(buffer, static_cast<size_t>(n));
  }
  return true;
}

std::optional<Frame> Channel::next() {
  if (in_.size() < header_size) return std::nullopt;
  Frame frame{.kind = static_cast<FrameKind>(in_[0])};
  size_t length = 0;
  for (int i = 0; i < 4; ++i)
    length |= size_t{static_cast<unsigned char>(in_[1 + static_cast<size_t>(i)])} << (8 * i);
  bool data =
      frame.kind == FrameKind::input || frame.kind == FrameKind::output || frame.kind == FrameKind::errors;
  if (!data && frame.kind != FrameKind::message) throw Error("cannot read a request: unknown kind of frame");
  if (length > (data ? max_data : max_message))
    throw Error("cannot read a request: a frame of {} bytes", length);
  if (in_.size() < header_size + length) return std::nullopt;
  frame.bytes = in_.substr(header_size, length);
  in_.erase(0, header_size + length);
  return frame;
}

void Channel::send(FrameKind kind, std::string_view bytes, int fd) {
  if (fd >= 0) {
    Fd copy{check(fcntl(fd, F_DUPFD_CLOEXEC, 3), "cannot pass on a file descriptor")};
    out_fds_.emplace_back(out_.size(), std::move(copy));
  }
  out_ += header(kind, bytes.size());
  out_ += bytes;
  flush();
}

bool Channel::flush() {
  while (!out_.empty()) {
    // A descriptor goes with the first byte of its frame; what is before it is sent alone.
    std::vector<int> fds;
    size_t length = out_.size();
    if (!out_fds_.empty()) {
      if (out_fds_.front().first == 0) fds.push_back(out_fds_.front().second.get());
      if (fds.empty()) length = out_fds_.front().first;
      if (out_fds_.size() > 1) length = std::min(length, out_fds_[1].first);
    }
    ssize_t n = send_with(socket_.get(), std::string_view(out_).substr(0, length), fds);
    if (n < 0) return errno == EAGAIN;
    if (!fds.empty()) out_fds_.erase(out_fds_.begin());
    out_.erase(0, static_cast<size_t>(n));
    for (auto& [position, fd] : out_fds_) position -= static_cast<size_t>(n);
  }
  return true;
}

void Channel::send_now(FrameKind kind, std::string_view bytes, const std::vector<int>& fds) {
  std::string frame = header(kind, bytes.size()).append(bytes);
  std::string_view left = frame;
  bool first = true;
  while (!left.empty()) {
    ssize_t n = send_with(socket_.get(), left, first ? fds : std::vector<int>{});
    if (n < 0 && errno == EAGAIN) {
      pollfd ready{socket_.get(), POLLOUT, 0};
      poll(&ready, 1, -1);
      continue;
    }
    check(n, "cannot reach the container's shim");
    first = false;
    left.remove_prefix(static_cast<size_t>(n));
  }
}

std::optional<Frame> Channel::wait_frame(std::optional<std::chrono::milliseconds> limit) {
  auto end = std::chrono::steady_clock::now() + limit.value_or(std::chrono::milliseconds(0));
  bool open = true;
  for (;;) {
    if (auto frame = next()) return frame;
    if (!open) return std::nullopt;
    int wait = -1;
    if (limit) {
      auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      if (left.count() <= 0) return std::nullopt;
      wait = static_cast<int>(std::min<int64_t>(left.count() + 1, 1 << 30));
    }
    pollfd ready{socket_.get(), POLLIN, 0};
    if (poll(&ready, 1, wait) > 0) open = receive();
  }
}

std::string to_text(const ShimRequest& request) {
  nlohmann::json json;
  if (auto* exec = std::get_if<ExecCall>(&request)) {
    json = {{"op", "exec"}, {"process", to_json(exec->process)}, {"detach", exec->detach}};
    if (exec->timeout) json["timeoutMs"] = exec->timeout->count();
  } else if (std::get_if<AttachCall>(&request)) {
    json = {{"op", "attach"}};
  } else if (auto* stop = std::get_if<StopCall>(&request)) {
    json = {{"op", "stop"}, {"signal", stop->signal}, {"graceMs", stop->grace.count()}};
  } else if (auto* signal = std::get_if<SignalCall>(&request)) {
    json = {{"op", "signal"}, {"signal", signal->signal}};
  } else if (auto* resize = std::get_if<ResizeCall>(&request)) {
    json = {{"op", "resize"}, {"rows", resize->rows}, {"columns", resize->columns}};
  }
  try {
    return json.dump();
  } catch (const nlohmann::json::type_error&) {
    // Replaced characters would run something else than what was asked for.
    throw Error("cannot pass on the request: it holds text that isn't UTF-8");
  }
}

ShimRequest parse_request(std::string_view text) {
  Json json = Json::parse(text, "request");
  std::string op = json.at("op").string();
  if (op == "exec") {
    json.only({"op", "process", "detach", "timeoutMs"});
    ExecCall call{.process = parse_process(json.at("process")), .detach = json.boolean_or("detach", false)};
    if (auto timeout = json.find("timeoutMs")) call.timeout = milliseconds_of(*timeout);
    return call;
  }
  if (op == "attach") {
    json.only({"op"});
    return AttachCall{};
  }
  if (op == "stop") {
    json.only({"op", "signal", "graceMs"});
    return StopCall{bounded(json.at("signal"), 64), milliseconds_of(json.at("graceMs"))};
  }
  if (op == "signal") {
    json.only({"op", "signal"});
    return SignalCall{bounded(json.at("signal"), 64)};
  }
  if (op == "resize") {
    json.only({"op", "rows", "columns"});
    return ResizeCall{static_cast<uint16_t>(bounded(json.at("rows"), UINT16_MAX)),
                      static_cast<uint16_t>(bounded(json.at("columns"), UINT16_MAX))};
  }
  throw Error("request.op: unknown '{}'", printable(op));
}

std::string to_text(const ShimReply& reply) {
  nlohmann::json json = nlohmann::json::object();
  if (!reply.error.empty()) json["error"] = reply.error;
  if (reply.pid) json["pid"] = *reply.pid;
  if (reply.exit) json["exit"] = exit_json(*reply.exit);
  if (reply.timed_out) json["timedOut"] = true;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ShimReply parse_reply(std::string_view text) {
  Json json = Json::parse(text, "reply");
  ShimReply reply{.error = json.string_or("error", "")};
  if (auto pid = json.find("pid")) reply.pid = bounded(*pid, 1 << 22);
  if (auto exit = json.find("exit")) {
    Exit found;
    if (auto code = exit->find("code")) found.code = bounded(*code, 255);
    if (auto signal = exit->find("signal")) found.signal = bounded(*signal, 64);
    reply.exit = found;
  }
  reply.timed_out = json.boolean_or("timedOut", false);
  return reply;
}

}  // namespace rayctl::run
