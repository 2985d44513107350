#include "ray/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"

namespace rayctl::ray {

void sd_notify(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (!path || !*path) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  size_t length = std::strlen(path);
  if (length >= sizeof to.sun_path) return;
  std::memcpy(to.sun_path, path, length);
  if (path[0] == '@') to.sun_path[0] = '\0';  // an abstract address
  Fd socket_fd{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (!socket_fd || sendto(socket_fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                           reinterpret_cast<sockaddr*>(&to), size) < 0)
    warn("cannot tell systemd '{}': {}", state, SysError::describe(errno));
}

}  // namespace rayctl::ray
