// The kernel's WireGuard: a device's configuration as data, the changes between two, and its messages by
// generic netlink (linux/wireguard.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"
#include "net/wireguard_key.h"

namespace rayctl::net {

struct Endpoint {
  Address address;
  uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};
std::string to_string(const Endpoint& endpoint);  // "192.0.2.1:51820", "[fd00::1]:51820"

struct WireguardPeer {
  std::optional<Endpoint> endpoint = {};  // empty: it comes to us (behind NAT)
  std::vector<Subnet> allowed = {};       // sorted: what may come from it, and goes to it
  uint16_t keepalive = 0;                 // seconds; 0 = none
  bool operator==(const WireguardPeer&) const = default;
};

struct WireguardDevice {
  WireguardKey private_key = {};
  uint16_t port = 0;
  std::map<WireguardKey, WireguardPeer> peers = {};  // by public key
  bool operator==(const WireguardDevice&) const = default;
};

// What the kernel adds about a peer.
struct WireguardStatus {
  int64_t handshake = 0;  // of the last one; seconds since the epoch, 0 = never
  uint64_t received = 0, sent = 0;
};
struct FoundWireguard {
  WireguardDevice device = {};
  std::map<WireguardKey, WireguardStatus> status = {};
};

// One step for a peer.
struct WireguardChange {
  enum class Kind { add, update, remove };
  Kind kind = Kind::add;
  WireguardKey key = {};
  std::optional<Endpoint> endpoint = {};   // set when not empty
  std::optional<uint16_t> keepalive = {};  // set when not empty
  std::vector<Subnet> allowed = {};        // added
  bool replace_allowed = false;            // the list is all there shall be
  bool operator==(const WireguardChange&) const = default;
};
struct WireguardChanges {
  std::optional<WireguardKey> private_key = {};
  std::optional<uint16_t> port = {};
  std::vector<WireguardChange> peers = {};
  bool empty() const { return !private_key && !port && peers.empty(); }
};

// A session that is older has ended: then the address that a peer roamed to isn't trusted any more.
constexpr std::chrono::seconds stale_handshake{180};

// Pure. A live peer's list of subnets is never emptied: what moves from one key to another is added to the
// new one, which takes it from the old, and only then the old one is removed. Endpoints roam: one that
// differs is set again only when it was `moved` (the cluster says another address than before) or the session
// ended by `now`.
WireguardChanges diff(const WireguardDevice& wanted, const FoundWireguard& found,
                      const std::set<WireguardKey>& moved, int64_t now);
std::vector<std::string> describe(const WireguardChanges& changes,
                                  const std::map<WireguardKey, std::string>& names);

// The requests for `changes`, each of at most `peers_per_message` peers. `family` is genetlink's number.
std::vector<Message> set_device_messages(uint16_t family, const std::string& link,
                                         const WireguardChanges& changes);
constexpr size_t peers_per_message = 200;

// Adds what one message of a dump says; a peer with many subnets comes in several.
void parse_device(const Answer& answer, FoundWireguard& found);

// Generic netlink's number for WireGuard; empty when this kernel has none. The kernel loads its module for
// it.
std::optional<uint16_t> wireguard_family(Netlink& generic);
bool kernel_has_wireguard();
FoundWireguard observe_device(Netlink& generic, uint16_t family, const std::string& link);

}  // namespace rayctl::net
