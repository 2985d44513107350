// The VXLAN overlay as data: what is wanted, what the kernel has, and the ordered changes between them.
//
// Each node has one VXLAN link (no learning, no flooding) whose address is its subnet's base, and per peer a
// permanent neighbour, an FDB entry and an on-link route, made in that order (the route last, or the kernel
// would ask by ARP for what nobody answers). An `unreachable POOL` route of worst metric stands below, so
// that traffic to a peer that isn't there stops instead of leaving by the default route.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/address.h"

namespace rayctl::net {

// Another node of the cluster.
struct Peer {
  std::string name;  // for messages
  Subnet subnet;
  Address underlay;  // where its VXLAN packets go
  Mac mac;           // of its VXLAN link: vtep_mac(subnet) unless it said otherwise
  bool operator==(const Peer&) const = default;
};

// What this node wants. Every field but `underlay`, `pool`, `subnet` and `peers` has a default.
struct Overlay {
  uint32_t vni = 4242;
  uint16_t port = 8472;              // UDP; must be open between the nodes
  std::string underlay_link = {};    // the link that carries `underlay`; found by the address when empty
  Address underlay = {};             // this node's own end
  std::optional<uint32_t> mtu = {};  // of the overlay; found from the routes to the peers when empty
  Subnet pool = {};
  Subnet subnet = {};  // this node's
  std::vector<Peer> peers = {};
};

std::string overlay_link_name(const Overlay& overlay);  // "rayctl.4242"

constexpr uint32_t vxlan_overhead(bool underlay_is_v6) {
  return underlay_is_v6 ? 70 : 50;
}

// The VXLAN link as wanted or as found.
struct VxlanLink {
  std::string name;
  uint32_t vni = 0;
  uint16_t port = 0;
  Address local = {};
  int underlay_index = 0;
  Mac mac = {};
  uint32_t mtu = 0;
  bool up = false;
  bool learning = false;
  bool operator==(const VxlanLink&) const = default;
};

struct PeerNeighbour {
  Address address;  // the peer's subnet base
  Mac mac;
  auto operator<=>(const PeerNeighbour&) const = default;
};
struct PeerForward {
  Mac mac;
  Address underlay;
  auto operator<=>(const PeerForward&) const = default;
};
struct PeerRoute {
  Subnet subnet;
  Address via;  // the subnet's base
  auto operator<=>(const PeerRoute&) const = default;
};

// What the kernel has, or should have. Lists are sorted.
struct OverlayState {
  std::optional<VxlanLink> link = {};
  std::vector<Address> addresses = {};  // on the link, all /32
  std::vector<PeerNeighbour> neighbours = {};
  std::vector<PeerForward> forwards = {};
  std::vector<PeerRoute> routes = {};
  bool pool_unreachable = false;
};

// One step; applied in the order of the list.
struct DeleteLink {
  std::string name;
};
struct CreateLink {
  VxlanLink link;
};
struct SetLink {  // what needs no new link, and differs
  std::string name;
  std::optional<uint32_t> mtu = {};
  std::optional<Mac> mac = {};
  bool up = false;
};
struct AddAddress {
  Address address;
};
struct DeleteAddress {
  Address address;
};
struct AddUnreachable {
  Subnet pool;
};
struct DeletePeerRoute {
  PeerRoute route;
};
struct DeletePeerForward {
  PeerForward forward;
};
struct DeletePeerNeighbour {
  PeerNeighbour neighbour;
};
struct AddPeerNeighbour {  // replaces another MAC
  PeerNeighbour neighbour;
};
struct AddPeerForward {  // replaces another destination
  PeerForward forward;
};
struct AddPeerRoute {
  PeerRoute route;
};
using OverlayChange =
    std::variant<AddUnreachable, DeleteLink, CreateLink, SetLink, DeleteAddress, AddAddress, DeletePeerRoute,
                 DeletePeerForward, DeletePeerNeighbour, AddPeerNeighbour, AddPeerForward, AddPeerRoute>;

// What `overlay` looks like in the kernel. `underlay_index` and `mtu` were found from the routes.
// Throws when two peers share a subnet, an underlay address or a MAC, or when one has this node's.
OverlayState overlay_state(const Overlay& overlay, int underlay_index, uint32_t mtu);

// Pure: the changes that turn `found` into `wanted`; none when they agree.
std::vector<OverlayChange> diff(const OverlayState& wanted, const OverlayState& found, const Subnet& pool);

std::string describe(const OverlayChange& change);  // "add route 10.64.0.64/26 via 10.64.0.64"

}  // namespace rayctl::net
