// The frames of a control stream: 3 bytes length of the payload, 1 byte type, 4 bytes channel (big-endian),
// payload.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rayctl::cluster {

enum class FrameType : uint8_t {
  hello = 1,   // JSON; the first frame of each side
  ping,        // no payload
  pong,        // no payload
  notify,      // JSON {name, body}; wants no answer
  request,     // JSON {name, body}; opens the channel
  response,    // JSON; the answer, closes the channel
  failure,     // text for people; the answer, closes the channel
  data,        // bytes of the channel's main lane (stdin or stdout)
  error_data,  // bytes of its error lane (stderr)
  event,       // JSON (resize, signal); overtakes data that waits for credit on its way: a signal must reach
               // a program that reads nothing
  end,         // no more data from this side
  credit,      // 4 bytes: how many more bytes of data the other side may send
  cancel,      // text: who asked gives up; closes the channel
  goodbye,     // text: why this side closes the connection
};

constexpr size_t frame_header_size = 8;
constexpr size_t max_data_size = 16 << 10;      // one TLS record: a long stream delays nobody for longer
constexpr size_t max_message_size = 256 << 10;  // JSON of hello, notify; of all that a node sends to its head
constexpr size_t max_request_size =
    8 << 20;  // JSON of request, response: a deployment of thousands of containers
constexpr size_t max_event_size = 4 << 10;
constexpr size_t max_text_size = 16 << 10;      // failure, cancel, goodbye
constexpr size_t max_greeting_size = 32 << 10;  // any frame before the other side is known

struct Frame {
  FrameType type = FrameType::ping;
  uint32_t channel = 0;
  std::string_view payload = {};
};

size_t max_payload(FrameType type);
// Appends the frame to `out`. A payload over the type's limit is an Error.
void append_frame(std::string& out, FrameType type, uint32_t channel, std::string_view payload);
std::string credit_payload(uint32_t bytes);
uint32_t parse_credit(std::string_view payload);  // throws

// Cuts a byte stream into frames; holds at most one incomplete frame, and no memory between frames.
class FrameReader {
 public:
  void append(std::string_view bytes) { buffer_ += bytes; }
  // The next frame; its payload is valid until the next call. Empty: more bytes are needed. Throws on an
  // unknown type or a length over the limit: the connection can't go on.
  std::optional<Frame> next();
  void limit(size_t bytes) { limit_ = bytes; }  // over the types' own; 0 = none
  size_t buffered() const { return buffer_.size() - begin_; }

 private:
  std::string buffer_;
  size_t begin_ = 0;
  size_t limit_ = 0;
};

}  // namespace rayctl::cluster
