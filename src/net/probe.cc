#include "net/probe.h"

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
constexpr size_t ip_header = 20, icmp_header = 8;
constexpr int tries = 3;

uint16_t checksum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += static_cast<uint32_t>(bytes[i]) << 8 | bytes[i + 1];
  if (bytes.size() % 2) sum += static_cast<uint32_t>(bytes.back()) << 8;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

class Prober {
 public:
  Prober(const std::vector<ProbeTarget>& targets)
      : targets_(targets), answers_(targets.size()), sent_(targets.size()), cookie_(random_bytes(8)) {
    socket_ = Fd{check(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP),
                       "cannot open a socket for ICMP")};
    int mode = IP_PMTUDISC_PROBE;  // "don't fragment", whatever was learned of the path
    check(setsockopt(socket_.get(), IPPROTO_IP, IP_MTU_DISCOVER, &mode, sizeof mode),
          "cannot forbid fragments");
    int size = 4 << 20;
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
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
  size_t missing() const {
    return static_cast<size_t>(
        std::count_if(answers_.begin(), answers_.end(), [](const ProbeAnswer& a) { return !a.time; }));
  }

  void send(size_t i) {
    const ProbeTarget& target = targets_[i];
    size_t size =
        std::max(target.size, ip_header + icmp_header + cookie_.size() + sizeof(uint32_t)) - ip_header;
    std::vector<uint8_t> packet(size);
    icmphdr header{};
    header.type = ICMP_ECHO;
    header.un.echo.id = id_;
    std::memcpy(packet.data(), &header, sizeof header);
    uint32_t index = static_cast<uint32_t>(i);
    std::memcpy(&packet[icmp_header], cookie_.data(), cookie_.size());
    std::memcpy(&packet[icmp_header + cookie_.size()], &index, sizeof index);
    header.checksum = checksum(packet);
    std::memcpy(packet.data(), &header, sizeof header);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, target.address.bytes.data(), 4);
    sent_[i] = Clock::now();
    ssize_t n =
        sendto(socket_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
    answers_[i].error = n < 0 ? SysError::describe(errno) : "";
  }

  void receive(Clock::time_point end) {
    while (missing() > 0) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
      if (left.count() < 0) return;
      pollfd event{socket_.get(), POLLIN, 0};
      if (poll(&event, 1, static_cast<int>(left.count()) + 1) <= 0) continue;
      ssize_t n;
      while ((n = recv(socket_.get(), buffer_.data(), buffer_.size(), 0)) > 0) take(static_cast<size_t>(n));
    }
  }

  void take(size_t size) {
    size_t ip = static_cast<size_t>(buffer_[0] & 15) * 4, at = ip + icmp_header;
    if (size < at + cookie_.size() + sizeof(uint32_t) || buffer_[ip] != ICMP_ECHOREPLY) return;
    if (std::memcmp(&buffer_[at], cookie_.data(), cookie_.size()) != 0) return;
    uint32_t index;
    std::memcpy(&index, &buffer_[at + cookie_.size()], sizeof index);
    if (index >= targets_.size() || answers_[index].time) return;
    if (std::memcmp(&buffer_[12], targets_[index].address.bytes.data(), 4) != 0) return;
    answers_[index] = {std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - sent_[index]),
                       ""};
  }

  const std::vector<ProbeTarget>& targets_;
  std::vector<ProbeAnswer> answers_;
  std::vector<Clock::time_point> sent_;
  std::string cookie_;  // tells our echoes from others'
  uint16_t id_ = 0;
  Fd socket_;
  std::array<uint8_t, 65536> buffer_ = {};
};

}  // namespace

std::vector<ProbeAnswer> probe(const std::vector<ProbeTarget>& targets, std::chrono::milliseconds limit) {
  return Prober(targets).run(limit);
}

}  // namespace rayctl::net
