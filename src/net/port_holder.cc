#include "net/port_holder.h"

#include <fmt/format.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

// 0, or the errno of taking it on every address of this IP version.
int try_to_listen(uint16_t port, int family) {
  Fd socket_fd{socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket_fd) return 0;  // a machine without this version
  int on = 1;                // what is left of closed connections doesn't matter
  setsockopt(socket_fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage any{};
  any.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET6) {
    setsockopt(socket_fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    reinterpret_cast<sockaddr_in6*>(&any)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&any)->sin_port = htons(port);
  }
  socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  if (bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&any), size) != 0) return errno;
  return listen(socket_fd.get(), 1) == 0 ? 0 : errno;
}

// Of the socket that listens on the port: proc(5), /proc/net/tcp. "  0: 0100007F:0CEA 00000000:0000 0A …"
std::string listener_inode(const std::string& file, uint16_t port) {
  constexpr size_t local = 1, state = 3, inode = 9;
  auto text = read_file_if_exists(file);
  if (!text) return "";
  for (const std::string& line : split(*text, '\n')) {
    std::vector<std::string> fields;
    for (const std::string& field : split(line, ' '))
      if (!field.empty()) fields.push_back(field);
    if (fields.size() <= inode || fields[state] != "0A") continue;
    if (fields[local].ends_with(fmt::format(":{:04X}", port))) return fields[inode];
  }
  return "";
}

std::string holder_of(const std::string& inode) {
  std::string wanted = "socket:[" + inode + "]";
  for (const std::string& pid : list_directory("/proc")) {
    if (!all_digits(pid)) continue;
    std::string process = "/proc/" + pid;
    try {
      for (const std::string& fd : list_directory(process + "/fd")) {
        char target[64];
        ssize_t n = readlink((process + "/fd/" + fd).c_str(), target, sizeof target);
        if (n <= 0 || std::string_view(target, static_cast<size_t>(n)) != wanted) continue;
        std::string name = read_file_if_exists(process + "/comm").value_or("");
        return fmt::format("process {} ({})", pid, printable(std::string(trim(name))));
      }
    } catch (const Error&) {  // it ended meanwhile, or isn't ours to look at
    }
  }
  return "";
}

}  // namespace

std::optional<std::string> tcp_port_holder(uint16_t port) {
  if (try_to_listen(port, AF_INET) != EADDRINUSE && try_to_listen(port, AF_INET6) != EADDRINUSE)
    return std::nullopt;
  for (const char* file : {"/proc/self/net/tcp", "/proc/self/net/tcp6"})
    if (std::string inode = listener_inode(file, port); !inode.empty())
      if (std::string holder = holder_of(inode); !holder.empty()) return holder;
  return "another process";
}

}  // namespace rayctl::net
