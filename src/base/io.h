// Byte streams that plug into each other: hash, compression, tar, HTTP and files.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace rayctl {

using Bytes = std::span<const std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes the next bytes; throws to stop the stream.
using Sink = std::function<void(Bytes)>;

// Fills the front of the buffer and returns how much; 0 = the end.
using Source = std::function<size_t(std::span<std::byte>)>;

Source read_from(int fd, std::string name);  // the fd stays the caller's
Source read_from(std::string_view text);     // the text must outlive the source
Sink write_to(int fd, std::string name);
void copy(const Source& source, const Sink& sink, size_t buffer_size = 256 << 10);

}  // namespace rayctl
