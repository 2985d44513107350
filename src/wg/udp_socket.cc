#include "wg/udp_socket.h"

#include <netinet/udp.h>
#include <poll.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

namespace rayctl::wg {

namespace {

constexpr int socket_buffer = 8 << 20;
constexpr size_t arrival_size = 65536;
constexpr size_t segment_limit = 64;
constexpr size_t run_limit = 65507;  // of UDP's payload
constexpr size_t runs_at_once = 64;
constexpr int wait_for_room_ms = 20;
constexpr size_t arena_size = 512 << 10;

bool kernel_at_least(int major, int minor) {
  utsname name;
  int a = 0, b = 0;
  if (uname(&name) < 0 || std::sscanf(name.release, "%d.%d", &a, &b) != 2) return false;
  return a > major || (a == major && b >= minor);
}

Endpoint endpoint_of(const sockaddr_storage& address) {
  Endpoint endpoint;
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    endpoint.address.family = AF_INET6;
    std::memcpy(endpoint.address.bytes.data(), &v6.sin6_addr, 16);
    endpoint.port = ntohs(v6.sin6_port);
  } else {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    std::memcpy(endpoint.address.bytes.data(), &v4.sin_addr, 4);
    endpoint.port = ntohs(v4.sin_port);
  }
  return endpoint;
}

socklen_t store_endpoint(const Endpoint& endpoint, sockaddr_in6& storage) {
  storage = {};
  if (endpoint.address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    std::memcpy(&v4.sin_addr, endpoint.address.bytes.data(), 4);
    return sizeof(sockaddr_in);
  }
  storage.sin6_family = AF_INET6;
  storage.sin6_port = htons(endpoint.port);
  std::memcpy(&storage.sin6_addr, endpoint.address.bytes.data(), 16);
  return sizeof storage;
}

void set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

}  // namespace

struct UdpSocket::Buffers {
  std::vector<uint8_t> bytes = std::vector<uint8_t>(arrivals_at_once * arrival_size);
  std::array<mmsghdr, arrivals_at_once> messages = {};
  std::array<iovec, arrivals_at_once> parts = {};
  std::array<sockaddr_storage, arrivals_at_once> names = {};
  struct alignas(cmsghdr) Control {
    std::array<uint8_t, CMSG_SPACE(sizeof(int))> bytes;
  };
  std::array<Control, arrivals_at_once> controls = {};
};

UdpSocket::UdpSocket(Fd fd, int family)
    : fd_(std::move(fd)), family_(family), buffers_(std::make_shared<Buffers>()) {
  int value = 0;
  socklen_t size = sizeof value;
  gso_ = getsockopt(fd_.get(), SOL_UDP, UDP_SEGMENT, &value, &size) == 0;
  value = 1;
  // Before 5.12 what was aggregated could be forwarded wrongly: the kernel's own mistake.
  gro_ = kernel_at_least(5, 12) && setsockopt(fd_.get(), SOL_UDP, UDP_GRO, &value, sizeof value) == 0;
}

std::optional<UdpSocket> UdpSocket::open(int family, uint16_t port, uint32_t mark) {
  Fd fd{socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT)) return std::nullopt;
  check(fd.get(), "cannot open a UDP socket");
  sockaddr_in6 address;
  Endpoint any;
  any.address.family = family;
  any.port = port;
  socklen_t size = store_endpoint(any, address);
  if (family == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_option(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
  } else {
    // As the kernel's WireGuard: a path with a smaller MTU fragments and doesn't lose.
    set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  }
  for (int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
    if (setsockopt(fd.get(), SOL_SOCKET, option, &socket_buffer, sizeof socket_buffer) < 0)
      set_option(fd.get(), SOL_SOCKET, option == SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF, socket_buffer);
  if (mark != 0)
    check(setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), "cannot mark packets with {}", mark);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) < 0) {
    if (errno == EADDRNOTAVAIL && family == AF_INET6) return std::nullopt;  // IPv6 is switched off
    SysError error(errno, "cannot listen on UDP port {}", port);
    if (error.code() == EADDRINUSE) error.hint("another program uses it: ss -lunp shows which");
    throw error;
  }
  return UdpSocket(std::move(fd), family);
}

UdpSocket UdpSocket::adopt(Fd fd, int family) {
  return UdpSocket(std::move(fd), family);
}

std::span<Arrival> UdpSocket::receive() {
  Buffers& b = *buffers_;
  for (unsigned i = 0; i < arrivals_at_once; ++i) {
    b.parts[i] = {&b.bytes[i * arrival_size], arrival_size};
    msghdr& header = b.messages[i].msg_hdr;
    header = {};
    header.msg_name = &b.names[i];
    header.msg_namelen = sizeof b.names[i];
    header.msg_iov = &b.parts[i];
    header.msg_iovlen = 1;
    header.msg_control = b.controls[i].bytes.data();
    header.msg_controllen = b.controls[i].bytes.size();
  }
  int n = recvmmsg(fd_.get(), b.messages.data(), arrivals_at_once, MSG_DONTWAIT, nullptr);
  arrivals_.clear();
  for (int i = 0; i < n; ++i) {
    const mmsghdr& message = b.messages[static_cast<size_t>(i)];
    if (message.msg_hdr.msg_flags & MSG_TRUNC) continue;
    size_t segment = message.msg_len;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message.msg_hdr); c;
         c = CMSG_NXTHDR(const_cast<msghdr*>(&message.msg_hdr), c))
      if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
        int value;
        std::memcpy(&value, CMSG_DATA(c), sizeof value);
        if (value > 0) segment = static_cast<size_t>(value);
      }
    arrivals_.push_back({endpoint_of(b.names[static_cast<size_t>(i)]),
                         {&b.bytes[static_cast<size_t>(i) * arrival_size], message.msg_len},
                         segment});
  }
  return arrivals_;
}

size_t UdpSocket::send(std::span<const Run> runs) {
  size_t lost = 0;
  while (!runs.empty()) {
    size_t n = std::min(runs.size(), runs_at_once);
    lost += send_batch(runs.first(n));
    runs = runs.subspan(n);
  }
  return lost;
}

size_t UdpSocket::send_batch(std::span<const Run> runs) {
  std::array<mmsghdr, runs_at_once> messages;
  std::array<iovec, runs_at_once> parts;
  std::array<sockaddr_in6, runs_at_once> names;
  struct alignas(cmsghdr) Control {
    std::array<uint8_t, CMSG_SPACE(sizeof(uint16_t))> bytes;
  };
  std::array<Control, runs_at_once> controls;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    parts[i] = {const_cast<uint8_t*>(run.bytes), run.size};
    messages[i] = {};
    msghdr& header = messages[i].msg_hdr;
    header.msg_name = &names[i];
    header.msg_namelen = store_endpoint(run.to, names[i]);
    header.msg_iov = &parts[i];
    header.msg_iovlen = 1;
    if (run.size > run.segment) {
      header.msg_control = controls[i].bytes.data();
      header.msg_controllen = controls[i].bytes.size();
      cmsghdr* c = CMSG_FIRSTHDR(&header);
      c->cmsg_level = SOL_UDP;
      c->cmsg_type = UDP_SEGMENT;
      c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
      uint16_t segment = static_cast<uint16_t>(run.segment);
      std::memcpy(CMSG_DATA(c), &segment, sizeof segment);
    }
  }
  size_t lost = 0;
  for (size_t done = 0; done < runs.size();) {
    int n = sendmmsg(fd_.get(), &messages[done], static_cast<unsigned>(runs.size() - done), MSG_DONTWAIT);
    if (n > 0) {
      done += static_cast<size_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS) {
      pollfd room{fd_.get(), POLLOUT, 0};
      if (errno == EAGAIN && poll(&room, 1, wait_for_room_ms) > 0) continue;
    } else if (runs[done].size > runs[done].segment) {
      // EIO: the link has no checksum offload. EINVAL, EMSGSIZE: a segment is larger than the path's MTU.
      if (errno == EIO) gso_ = false;
      lost += send_apart(runs[done++]);
      continue;
    }
    lost += (runs[done].size + runs[done].segment - 1) / runs[done].segment;
    ++done;
  }
  return lost;
}

size_t UdpSocket::send_apart(const Run& run) {
  sockaddr_in6 name;
  socklen_t size = store_endpoint(run.to, name);
  size_t lost = 0;
  for (size_t at = 0; at < run.size; at += run.segment)
    if (sendto(fd_.get(), run.bytes + at, std::min(run.segment, run.size - at), MSG_DONTWAIT,
               reinterpret_cast<sockaddr*>(&name), size) < 0)
      ++lost;
  return lost;
}

UdpSender::UdpSender() : arena_(arena_size) {}

uint8_t* UdpSender::room(size_t size) {
  if (used_ + size > arena_.size()) lost_ += flush();
  return &arena_[used_];
}

void UdpSender::commit(const Endpoint& to, size_t size) {
  UdpSocket* socket = to.address.is_v4() ? v4 : v6;
  bool grows = !closed_ && socket && socket->segments() && runs_.back().to == to &&
               size <= runs_.back().segment && runs_.back().size + size <= run_limit &&
               runs_.back().size / runs_.back().segment + 1 <= segment_limit;
  if (grows) {
    runs_.back().size += size;
  } else {
    runs_.push_back({to, &arena_[used_], size, size});
  }
  closed_ = runs_.back().segment != size;
  used_ += size;
}

size_t UdpSender::flush_family(UdpSocket* socket, int family) {
  chosen_.clear();
  size_t lost = 0;
  for (const UdpSocket::Run& run : runs_)
    if (run.to.address.family == family) {
      if (socket)
        chosen_.push_back(run);
      else
        lost += (run.size + run.segment - 1) / run.segment;
    }
  return chosen_.empty() ? lost : lost + socket->send(chosen_);
}

size_t UdpSender::flush() {
  size_t lost = lost_;
  if (!runs_.empty()) lost += flush_family(v4, AF_INET) + flush_family(v6, AF_INET6);
  runs_.clear();
  used_ = 0;
  closed_ = true;
  lost_ = 0;
  return lost;
}

}  // namespace rayctl::wg
