#include "base/fd.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/error.h"

namespace rayctl {

Fd Fd::duplicate() const {
  return Fd{check(fcntl(fd_, F_DUPFD_CLOEXEC, 3), "cannot duplicate a file descriptor")};
}

Pipe make_pipe() {
  int ends[2];
  check(pipe2(ends, O_CLOEXEC), "cannot make a pipe");
  return {Fd{ends[0]}, Fd{ends[1]}};
}

SocketPair make_socket_pair(int type) {
  int ends[2];
  check(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), "cannot make a socket pair");
  return {Fd{ends[0]}, Fd{ends[1]}};
}

}  // namespace rayctl
