#include "net/held_name.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>

#include "base/error.h"

namespace rayctl::net {

Fd hold_name(const std::string& name) {
  Fd fd{check(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "cannot open a socket")};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0) return fd;
  if (errno != EADDRINUSE) throw SysError(errno, "cannot hold the name '{}'", name);
  return Fd{};
}

}  // namespace rayctl::net
