// Owned file descriptors.
#pragma once

#include <unistd.h>

#include <utility>

namespace rayctl {

// Owns one file descriptor; closes it.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  Fd duplicate() const;  // F_DUPFD_CLOEXEC

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read, write;
};

Pipe make_pipe();  // both ends O_CLOEXEC

struct SocketPair {
  Fd first, second;
};

SocketPair make_socket_pair(int type);  // AF_UNIX; `type` is SOCK_STREAM, SOCK_SEQPACKET, …; O_CLOEXEC

}  // namespace rayctl
