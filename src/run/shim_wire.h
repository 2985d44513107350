// What a shim and its clients say to each other over DIR/shim.sock: frames, each a kind, a length and that
// many bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/child.h"
#include "base/fd.h"
#include "run/spec.h"

namespace rayctl::run {

enum class FrameKind : char {
  message = 'J',  // a request, reply or event, in JSON
  input = 'I',    // to the container's stdin or terminal; empty = its end
  output = 'O',   // of the container's stdout or terminal
  errors = 'E',   // of its stderr
};

struct Frame {
  FrameKind kind = FrameKind::message;
  std::string bytes;
};

inline constexpr size_t max_message =
    4 << 20;  // argv and environment of an exec: the kernel's own limit is near
inline constexpr size_t max_data = 64 << 10;

// One end of a connection. Never waits unless it says so; both directions are bounded.
class Channel {
 public:
  explicit Channel(Fd socket);  // made non-blocking

  // Takes what has arrived. False when the other side has hung up. An error for a malformed frame.
  bool receive();
  std::optional<Frame> next();                            // a whole frame, oldest first
  std::vector<Fd> take_fds() { return std::move(fds_); }  // that came with frames so far; at most 3 at a time

  void send(FrameKind kind, std::string_view bytes, int fd = -1);  // queued, then flushed as far as possible
  bool flush();                                                    // false when the other side has hung up
  size_t unsent() const { return out_.size(); }
  int fd() const { return socket_.get(); }

  // For clients: waits.
  void send_now(FrameKind kind, std::string_view bytes, const std::vector<int>& fds = {});
  std::optional<Frame> wait_frame(
      std::optional<std::chrono::milliseconds> limit = {});  // empty: hung up, or too late

 private:
  Fd socket_;
  std::string in_, out_;
  std::vector<Fd> fds_;
  std::vector<std::pair<size_t, Fd>> out_fds_;  // at which byte of out_
};

struct ExecCall {
  ProcessSpec process;
  bool detach = false;  // goes on when the client hangs up, with /dev/null as stdio
  std::optional<std::chrono::milliseconds> timeout = {};  // then everything that it started is killed
};
struct AttachCall {};
struct StopCall {
  int signal = 15;
  std::chrono::milliseconds grace{0};  // then SIGKILL to the whole cgroup
};
struct SignalCall {  // to the process of this connection's exec
  int signal = 0;
};
struct ResizeCall {  // of the container's terminal
  uint16_t rows = 0, columns = 0;
};
using ShimRequest = std::variant<ExecCall, AttachCall, StopCall, SignalCall, ResizeCall>;

std::string to_text(const ShimRequest& request);
ShimRequest parse_request(std::string_view text);

// What the shim answers: an error, or what the request asked for.
struct ShimReply {
  std::string error = {};
  std::optional<pid_t> pid = {};  // of an exec, in the host's numbers
  std::optional<Exit> exit = {};  // a later message: the exec has ended
  bool timed_out = false;
};

std::string to_text(const ShimReply& reply);
ShimReply parse_reply(std::string_view text);

}  // namespace rayctl::run
