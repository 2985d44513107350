#include "cluster/control_address.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::cluster {

namespace {

SocketAddress literal(const HostPort& where) {
  SocketAddress address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (inet_pton(AF_INET, where.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(where.port);
    address.size = sizeof v4;
  } else if (inet_pton(AF_INET6, where.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(where.port);
    address.size = sizeof v6;
  }
  return address;
}

struct Lookup {
  int status = ARES_ENOTFOUND;
  bool done = false;
  std::vector<SocketAddress> found = {};
};

void take_answer(void* argument, int status, int, ares_addrinfo* answer) {
  auto* lookup = static_cast<Lookup*>(argument);
  lookup->status = status;
  lookup->done = true;
  for (ares_addrinfo_node* node = answer ? answer->nodes : nullptr; node; node = node->ai_next) {
    SocketAddress address;
    if (node->ai_addrlen > sizeof address.storage) continue;
    std::memcpy(&address.storage, node->ai_addr, node->ai_addrlen);
    address.size = node->ai_addrlen;
    lookup->found.push_back(address);
  }
  if (answer) ares_freeaddrinfo(answer);
}

Fd make_socket(int family) {
  return Fd(check(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "cannot make a socket"));
}

// Before connect() or listen(): it is told to the other end, and those that are accepted have it, too.
void limit_segments(int socket, int segment) {
  setsockopt(socket, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
}

}  // namespace

HostPort parse_host_port(std::string_view text, uint16_t default_port) {
  HostPort found{std::string(text), default_port};
  std::string_view port;
  if (text.starts_with('[')) {
    size_t end = text.find(']');
    if (end == std::string_view::npos) throw UsageError("'{}' lacks a ']'", text);
    found.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && port.front() != ':')
      throw UsageError("'{}' has something else than ':PORT' after ']'", text);
    if (!port.empty()) port.remove_prefix(1);
  } else if (size_t colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    found.host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) throw UsageError("'{}' has no port after ':'", text);
  }
  if (port.empty()) return found;
  if (port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos)
    throw UsageError("'{}' isn't a port number", port);
  int number = std::stoi(std::string(port));
  if (number < 1 || number > 65535) throw UsageError("port {} isn't within 1 and 65535", number);
  found.port = static_cast<uint16_t>(number);
  return found;
}

std::string format_host_port(const HostPort& where) {
  if (where.host.find(':') != std::string::npos) return fmt::format("[{}]:{}", where.host, where.port);
  return fmt::format("{}:{}", where.host, where.port);
}

std::string format_address(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
  } else if (address.ss_family == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6))
      inet_ntop(AF_INET, &v6.s6_addr[12], text.data(), text.size());
    else
      inet_ntop(AF_INET6, &v6, text.data(), text.size());
  }
  return text.data();
}

std::vector<SocketAddress> resolve(const HostPort& where, const std::atomic<bool>& stop,
                                   std::chrono::milliseconds timeout) {
  if (where.host.empty()) throw Error("cannot connect to port {}: no host is given (HOST:PORT)", where.port);
  if (SocketAddress address = literal(where); address.size != 0) return {address};
  static const int ready = ares_library_init(ARES_LIB_INIT_ALL);
  ares_options options{};
  options.timeout = 1500;
  options.tries = 2;
  ares_channel raw = nullptr;
  int rc =
      ready == ARES_SUCCESS ? ares_init_options(&raw, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) : ready;
  if (rc != ARES_SUCCESS) throw Error("cannot look up '{}': {}", where.host, ares_strerror(rc));
  Lookup lookup;  // before the channel: destroying that one ends the lookup with a call into this
  std::unique_ptr<ares_channeldata, decltype(&ares_destroy)> channel(raw, ares_destroy);
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(raw, where.host.c_str(), std::to_string(where.port).c_str(), &hints, take_answer, &lookup);
  auto end = std::chrono::steady_clock::now() + timeout;
  while (!lookup.done && !stop && std::chrono::steady_clock::now() < end) {
    // poll, not select: this process may have thousands of fds.
    std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets{};
    std::array<pollfd, ARES_GETSOCK_MAXNUM> polled{};
    auto bits = static_cast<unsigned>(ares_getsock(raw, sockets.data(), static_cast<int>(sockets.size())));
    nfds_t count = 0;
    for (unsigned i = 0; i < sockets.size(); ++i) {
      bool in = ARES_GETSOCK_READABLE(bits, i), out = ARES_GETSOCK_WRITABLE(bits, i);
      if (in || out)
        polled[count++] = {sockets[i], static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0};
    }
    poll(polled.data(), count, 50);
    if (count == 0) ares_process_fd(raw, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    for (nfds_t i = 0; i < count; ++i) {
      bool in = (polled[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0,
           out = (polled[i].revents & POLLOUT) != 0;
      ares_process_fd(raw, in ? polled[i].fd : ARES_SOCKET_BAD, out ? polled[i].fd : ARES_SOCKET_BAD);
    }
  }
  if (!lookup.done) throw Error("cannot look up '{}': no name server answers", where.host);
  if (lookup.found.empty()) throw Error("cannot look up '{}': {}", where.host, ares_strerror(lookup.status));
  return lookup.found;
}

void tune_stream(int socket) {
  int on = 1, idle = 30, interval = 10, probes = 3;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

unsigned repetitions(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  return getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_retransmits : 0;
}

Fd begin_connect(const SocketAddress& address, int segment) {
  Fd socket = make_socket(address.storage.ss_family);
  tune_stream(socket.get());
  limit_segments(socket.get(), segment);
  int rc = connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (rc != 0 && errno != EINPROGRESS) check(rc, "cannot connect to {}", format_address(address.storage));
  return socket;
}

Fd listen_on(const HostPort& where) {
  SocketAddress address;
  Fd socket;
  int on = 1, off = 0;
  if (where.host.empty()) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    // A kernel without IPv6 has no such socket; one with IPv6 switched off has the socket but no address for
    // it.
    socket.reset(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    bool both = socket && setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
    if (both) {
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(where.port);
      address.size = sizeof v6;
    } else {
      socket = make_socket(AF_INET);
      v4.sin_family = AF_INET;
      v4.sin_port = htons(where.port);
      address.size = sizeof v4;
    }
  } else {
    address = literal(where);
    if (address.size == 0)
      throw Error("cannot listen on '{}': an address is needed, not a name", format_host_port(where));
    socket = make_socket(address.storage.ss_family);
  }
  std::string shown = format_host_port({where.host.empty() ? "*" : where.host, where.port});
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  limit_segments(socket.get(), usual_segment);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) {
    int code = errno;
    if (code == EADDRINUSE)
      throw Error("cannot listen on '{}': {} (does another head run here? --listen takes another port)",
                  shown, SysError::describe(code));
    throw SysError(code, "cannot listen on '{}'", shown);
  }
  check(listen(socket.get(), 4096), "cannot listen on '{}'", shown);
  return socket;
}

uint16_t port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  check(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), "cannot read a socket's address");
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

}  // namespace rayctl::cluster
