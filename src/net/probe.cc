#include "net/probe.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/encoding.h"
#include "base/error.h"
#include "base/fd.h"

namespace rayctl::net {

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t ip_header = 20, ip6_header = 40, icmp_header = 8;
constexpr int tries = 3;

uint16_t checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += static_cast<uint32_t>(bytes[i]) << 8 | bytes[i + 1];
  if (bytes.size() % 2) sum += static_cast<uint32_t>(bytes.back()) << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

// The socket for echoes of one IP version, "don't fragment" whatever was learned of the path.
Fd echo_socket(int family) {
  bool v4 = family == AF_INET;
  int protocol = IPPROTO_ICMP;
  if (!v4) protocol = IPPROTO_ICMPV6;
  Fd fd{check(socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol),
              "cannot open a socket for ICMP")};
  int mode = v4 ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE, on = 1;
  check(v4 ? setsockopt(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof mode)
           : setsockopt(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode, sizeof mode),
        "cannot forbid fragments");
  if (!v4) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_DONTFRAG, &on, sizeof on);
  int size = 4 << 20;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  return fd;
}

class Prober {
 public:
  Prober(const std::vector<ProbeTarget>& targets)
      : targets_(targets), answers_(targets.size()), sent_(targets.size()), cookie_(random_bytes(8)) {
    for (const ProbeTarget& target : targets)
      if (Fd& fd = socket_of(target.address); !fd) fd = echo_socket(target.address.family);
    std::memcpy(&id_, cookie_.data(), sizeof id_);
  }

  std::vector<ProbeAnswer> run(std::chrono::milliseconds limit) {
    auto end = Clock::now() + limit;
    for (int round = 0; round < tries && missing() > 0; ++round) {
      for (size_t i = 0; i < targets_.size(); ++i)
        if (!answers_[i].time) send(i);
      receive(round + 1 == tries ? end : std::min(end, Clock::now() + limit / tries));
    }
    return answers_;
  }

 private:
  Fd& socket_of(const Address& address) { return sockets_[address.is_v4() ? 0 : 1]; }

  size_t missing() const {
    return static_cast<size_t>(
        std::count_if(answers_.begin(), answers_.end(), [](const ProbeAnswer& a) { return !a.time; }));
  }

  void send(size_t i) {
    const ProbeTarget& target = targets_[i];
    bool v4 = target.address.is_v4();
    size_t least = icmp_header + cookie_.size() + sizeof(uint32_t), header = v4 ? ip_header : ip6_header;
    std::vector<uint8_t> packet(std::max(target.size, header + least) - header);
    icmphdr echo{};  // IPv6's looks the same; its checksum is the kernel's business
    echo.type = v4 ? uint8_t{ICMP_ECHO} : uint8_t{ICMP6_ECHO_REQUEST};
    echo.un.echo.id = id_;
    std::memcpy(packet.data(), &echo, sizeof echo);
    uint32_t index = static_cast<uint32_t>(i);
    std::memcpy(&packet[icmp_header], cookie_.data(), cookie_.size());
    std::memcpy(&packet[icmp_header + cookie_.size()], &index, sizeof index);
    if (v4) {
      echo.checksum = checksum(packet);
      std::memcpy(packet.data(), &echo, sizeof echo);
    }
    sockaddr_in6 to{};
    auto& to4 = reinterpret_cast<sockaddr_in&>(to);
    if (v4) {
      to4.sin_family = AF_INET;
      std::memcpy(&to4.sin_addr, target.address.bytes.data(), sizeof to4.sin_addr);
    } else {
      to.sin6_family = AF_INET6;
      std::memcpy(&to.sin6_addr, target.address.bytes.data(), sizeof to.sin6_addr);
    }
    sent_[i] = Clock::now();
    ssize_t n = sendto(socket_of(target.address).get(), packet.data(), packet.size(), 0,
                       reinterpret_cast<sockaddr*>(&to), v4 ? sizeof to4 : sizeof to);
    answers_[i].error = n < 0 ? SysError::describe(errno) : "";
  }

  void receive(Clock::time_point end) {
    while (missing() > 0) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
      if (left.count() < 0) return;
      std::array<pollfd, 2> events = {pollfd{sockets_[0].get(), POLLIN, 0},
                                      pollfd{sockets_[1].get(), POLLIN, 0}};
      if (poll(events.data(), events.size(), static_cast<int>(left.count()) + 1) <= 0) continue;
      for (size_t s = 0; s < sockets_.size(); ++s) {
        ssize_t n;
        sockaddr_in6 from{};
        socklen_t size = sizeof from;
        while (sockets_[s] && (n = recvfrom(sockets_[s].get(), buffer_.data(), buffer_.size(), 0,
                                            reinterpret_cast<sockaddr*>(&from), &size)) > 0)
          if (s == 0)  // with its IP header
            take(&buffer_[12], static_cast<size_t>(buffer_[0] & 15) * 4, static_cast<size_t>(n),
                 ICMP_ECHOREPLY);
          else
            take(from.sin6_addr.s6_addr, 0, static_cast<size_t>(n), ICMP6_ECHO_REPLY);
      }
    }
  }

  // A message at `begin` of the buffer.
  void take(const uint8_t* source, size_t begin, size_t size, uint8_t reply) {
    size_t at = begin + icmp_header;
    if (size < at + cookie_.size() + sizeof(uint32_t) || buffer_[begin] != reply) return;
    if (std::memcmp(&buffer_[at], cookie_.data(), cookie_.size()) != 0) return;
    uint32_t index;
    std::memcpy(&index, &buffer_[at + cookie_.size()], sizeof index);
    if (index >= targets_.size() || answers_[index].time) return;
    const Address& asked = targets_[index].address;
    if (std::memcmp(source, asked.bytes.data(), asked.size()) != 0) return;
    answers_[index] = {std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - sent_[index]),
                       ""};
  }

  const std::vector<ProbeTarget>& targets_;
  std::vector<ProbeAnswer> answers_;
  std::vector<Clock::time_point> sent_;
  std::string cookie_;  // tells our echoes from others'
  uint16_t id_ = 0;
  std::array<Fd, 2> sockets_;  // of IPv4 and IPv6, where they are needed
  std::array<uint8_t, 65536> buffer_ = {};
};

}  // namespace

std::vector<ProbeAnswer> probe(const std::vector<ProbeTarget>& targets, std::chrono::milliseconds limit) {
  return Prober(targets).run(limit);
}

}  // namespace rayctl::net
