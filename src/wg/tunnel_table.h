// The table that `rayctl tunnel` works from: one JSON file that the supervisor replaces whole. It holds keys:
// 0600.
//
//   {"version": 7,                     the writer's; status.json tells which one is in use
//    "interface": "rayctl.wg",         the TUN link's name; made when missing, kept when the process dies
//    "netns": "/run/netns/x",          where the link is; the UDP sockets are always where the process runs
//    ("" = there too) "mtu": 1420,                      of the link: at most the underlay's less 80 (IPv6) or
//    60 (IPv4) "private_key": "base64",          44 characters, as every WireGuard tool writes keys
//    "listen_port": 51820,             UDP, IPv4 and IPv6
//    "mark": 0,                        SO_MARK of what is sent, for routing rules and firewalls; 0 = none
//    "rekey_after": 120,               seconds, 5 … 120: how long an initiator uses a session
//    "peers": [{"public_key": "base64",
//               "preshared_key": "base64",             left out = none
//               "endpoint": "192.0.2.7:51820",         "[2001:db8::7]:51820"; left out = the peer must come
//               to us "allowed_ips": ["10.64.1.0/26"], "keepalive": 25,                       seconds, 0 =
//               off "cipher": "chacha20poly1305"}]}        or "aes256gcm" between two rayctl tunnels: both
//               must say so
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "wg/crypto.h"

namespace rayctl::wg {

struct Endpoint {
  net::Address address = {};
  uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};

// "192.0.2.7:51820", "[2001:db8::7]:51820".
Endpoint parse_endpoint(std::string_view text);
std::string to_string(const Endpoint& endpoint);

struct TunnelPeer {
  PublicKey public_key = {};
  Secret preshared_key = {};  // zeros: none
  std::optional<Endpoint> endpoint = {};
  std::vector<net::Subnet> allowed_ips = {};
  std::chrono::seconds keepalive{0};
  Cipher cipher = Cipher::chacha20poly1305;
  bool operator==(const TunnelPeer&) const = default;
};

struct TunnelTable {
  uint64_t version = 0;
  std::string interface = {};
  std::string netns = {};
  uint32_t mtu = 1420;
  Secret private_key = {};
  uint16_t listen_port = 51820;
  uint32_t mark = 0;
  std::chrono::seconds rekey_after{120};
  std::vector<TunnelPeer> peers = {};
  bool operator==(const TunnelTable&) const = default;
};

// Both directions. Parse refuses two peers with one key or one subnet, our own key as a peer, and unknown
// members; `name` begins its errors.
std::string tunnel_table_text(const TunnelTable& table);
TunnelTable parse_tunnel_table(std::string_view text, const std::string& name);

}  // namespace rayctl::wg
