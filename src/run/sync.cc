#include "run/sync.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

namespace {

void send_with_fd(int socket, iovec* parts, size_t count, int fd) {
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) throw SysError(errno, "cannot tell the other process");
}

}  // namespace

void send_message(int socket, Sync kind, std::string_view text, int fd) {
  text = text.substr(0, max_sync_text);
  char first = static_cast<char>(kind);
  iovec parts[2] = {{&first, 1}, {const_cast<char*>(text.data()), text.size()}};
  send_with_fd(socket, parts, 2, fd);
}

std::optional<SyncMessage> receive_message(int socket) {
  char first = 0;
  std::string text(max_sync_text, '\0');
  iovec parts[2] = {{&first, 1}, {text.data(), text.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno != ECONNRESET) throw SysError(errno, "cannot hear from the other process");
  if (n <= 0) return std::nullopt;
  SyncMessage found{static_cast<Sync>(first)};
  text.resize(static_cast<size_t>(n) - 1);
  found.text = std::move(text);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    found.fd.reset(fd);
  }
  return found;
}

void send_descriptor(const std::string& path, int fd, std::string_view text) {
  // A path may be longer than sockaddr_un: the socket is reached through an fd of it.
  Fd handle = open_file(path, O_PATH);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string short_path = fmt::format("/proc/self/fd/{}", handle.get());
  memcpy(address.sun_path, short_path.c_str(), short_path.size() + 1);
  Fd socket{check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "cannot make a socket")};
  check(connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
        "cannot connect to '{}'", path);
  iovec part{const_cast<char*>(text.data()), text.size()};
  send_with_fd(socket.get(), &part, 1, fd);
}

}  // namespace rayctl::run
