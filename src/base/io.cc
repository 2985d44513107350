#include "base/io.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace rayctl {

Source read_from(int fd, std::string name) {
  return [fd, name = std::move(name)](std::span<std::byte> buffer) {
    for (;;) {
      ssize_t n = read(fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      return static_cast<size_t>(check(n, "cannot read '{}'", name));
    }
  };
}

Source read_from(std::string_view text) {
  return [text](std::span<std::byte> buffer) mutable {
    size_t n = std::min(buffer.size(), text.size());
    std::memcpy(buffer.data(), text.data(), n);
    text.remove_prefix(n);
    return n;
  };
}

Sink write_to(int fd, std::string name) {
  return [fd, name = std::move(name)](Bytes bytes) { write_fd(fd, as_text(bytes), name); };
}

void copy(const Source& source, const Sink& sink, size_t buffer_size) {
  std::vector<std::byte> buffer(buffer_size);
  while (size_t n = source(buffer)) sink(Bytes(buffer.data(), n));
}

}  // namespace rayctl
