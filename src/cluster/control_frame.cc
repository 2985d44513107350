#include "cluster/control_frame.h"

#include "base/error.h"

namespace rayctl::cluster {

namespace {

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (unsigned char byte : bytes) value = (value << 8) | byte;
  return value;
}

void append_big_endian(std::string& out, uint32_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 255);
}

}  // namespace

size_t max_payload(FrameType type) {
  switch (type) {
    case FrameType::hello:
    case FrameType::notify:
      return max_message_size;
    case FrameType::request:
    case FrameType::response:
      return max_request_size;
    case FrameType::failure:
    case FrameType::cancel:
    case FrameType::goodbye:
      return max_text_size;
    case FrameType::data:
    case FrameType::error_data:
      return max_data_size;
    case FrameType::event:
      return max_event_size;
    case FrameType::credit:
      return 4;
    case FrameType::ping:
    case FrameType::pong:
    case FrameType::end:
      return 0;
  }
  return 0;
}

void append_frame(std::string& out, FrameType type, uint32_t channel, std::string_view payload) {
  if (payload.size() > max_payload(type))
    throw Error("cannot send a message of {} bytes: the limit is {}", payload.size(), max_payload(type));
  append_big_endian(out, static_cast<uint32_t>(payload.size()), 3);
  out += static_cast<char>(type);
  append_big_endian(out, channel, 4);
  out += payload;
}

std::string credit_payload(uint32_t bytes) {
  std::string payload;
  append_big_endian(payload, bytes, 4);
  return payload;
}

uint32_t parse_credit(std::string_view payload) {
  if (payload.size() != 4) throw Error("a credit frame has {} bytes, not 4", payload.size());
  return big_endian(payload);
}

std::optional<Frame> FrameReader::next() {
  std::string_view rest = std::string_view(buffer_).substr(begin_);
  if (rest.size() >= frame_header_size) {
    size_t size = big_endian(rest.substr(0, 3));
    auto type = static_cast<unsigned char>(rest[3]);
    if (type < static_cast<unsigned char>(FrameType::hello) ||
        type > static_cast<unsigned char>(FrameType::goodbye))
      throw Error("a frame has the unknown type {}", type);
    size_t limit = max_payload(static_cast<FrameType>(type));
    if (limit_ != 0 && limit > limit_) limit = limit_;
    if (size > limit) throw Error("a frame of type {} has {} bytes: the limit is {}", type, size, limit);
    if (rest.size() >= frame_header_size + size) {
      begin_ += frame_header_size + size;
      return Frame{static_cast<FrameType>(type), big_endian(rest.substr(4, 4)),
                   rest.substr(frame_header_size, size)};
    }
  }
  // Incomplete: what was read before goes, and an idle connection keeps no buffer.
  if (rest.empty()) {
    std::string().swap(buffer_);
  } else if (begin_ > 0) {
    buffer_.erase(0, begin_);
  }
  begin_ = 0;
  return std::nullopt;
}

}  // namespace rayctl::cluster
