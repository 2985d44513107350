// Where control streams begin and end: names to addresses, sockets.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace rayctl::cluster {

struct HostPort {
  std::string host;
  uint16_t port;
};
HostPort parse_host_port(std::string_view text,
                         uint16_t default_port);  // "host", "host:port", "[v6]:port", ":port"
std::string format_host_port(const HostPort& where);

struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
};
std::string format_address(const sockaddr_storage& address);  // without port; IPv4-mapped as IPv4

// Blocks: for a thread of its own. A literal address costs nothing; names go to /etc/hosts, then to the name
// servers of /etc/resolv.conf (c-ares: a static program has no NSS). Ends early when `stop` becomes true.
std::vector<SocketAddress> resolve(const HostPort& where, const std::atomic<bool>& stop,
                                   std::chrono::milliseconds timeout = std::chrono::seconds(5));

// Bytes of TCP in one packet, both ways, whatever the links on the way would carry: a path that drops larger
// packets and doesn't say so (a VPN, a cloud's tunnel) would let a stream begin and then stand still. The
// first fits the 1280 bytes that IPv6 asks of every link, the second what IPv4 does.
inline constexpr int usual_segment = 1200, least_segment = 536;

// Non-blocking, TCP_NODELAY; connecting when it returns (writable once it is decided).
Fd begin_connect(const SocketAddress& address, int segment = usual_segment);
// An empty host: every IPv6 and IPv4 address. "cannot listen on '0.0.0.0:7443': Address already in use (…)"
Fd listen_on(const HostPort& where);
uint16_t port_of(int socket);
void tune_stream(int socket);  // no delay, dead peers found by the kernel too
// How often in a row the kernel has sent again what the other end doesn't confirm; 0 when all goes well.
unsigned repetitions(int socket);

}  // namespace rayctl::cluster
