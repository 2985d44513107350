// The overlay as data: what is wanted, what the kernel has, and the ordered changes between them.
//
// Each node has one link whose address is its subnet's base. A VXLAN link (no learning, no flooding) has per
// peer a permanent neighbour, an FDB entry and an on-link route, made in that order (the route last, or the
// kernel would ask by ARP for what nobody answers). An encrypted link, WireGuard's of the kernel or the TUN
// of `rayctl tunnel`, has a route per peer; which peer takes a packet is decided by its list of subnets
// (wireguard.h). An `unreachable POOL` route of worst metric stands below, so that traffic to a peer that
// isn't there stops instead of leaving by the default route.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/address.h"
#include "net/wireguard.h"

namespace rayctl::net {

// How packets travel between nodes. none: one node alone, containers behind NAT. host: there is no overlay,
// the containers are in the nodes' own network namespaces; nothing of ours is in the kernel.
enum class OverlayMode { none, host, vxlan, wireguard, userspace };
std::string_view mode_name(OverlayMode mode);
constexpr bool encrypts(OverlayMode mode) {
  return mode == OverlayMode::wireguard || mode == OverlayMode::userspace;
}

// What a node does in a cluster whose mode is `cluster` ("auto", "wireguard", "userspace", "vxlan", "host");
// `own` is how this node was told to encrypt, if it was. Throws when it can't: an encrypted cluster is never
// joined in clear.
struct KernelParts {
  bool wireguard = false, tun = false, vxlan = true;
};
OverlayMode choose_mode(std::string_view cluster, std::string_view own, const KernelParts& kernel);
KernelParts kernel_parts();

// Another node of the cluster.
struct Peer {
  std::string name;  // for messages
  Subnet subnet;
  Address underlay;         // where its VXLAN packets go
  Mac mac = {};             // of its VXLAN link: vtep_mac(subnet) unless it said otherwise
  WireguardKey key = {};    // its public one, where the overlay encrypts
  bool behind_nat = false;  // it comes to us; its address is no use
  bool relays = false;      // the head: what two nodes behind NAT send each other goes through it
  uint32_t path_mtu =
      0;  // of the overlay's packets that reach it, where that is less than the link's (path_mtu.h)
  bool operator==(const Peer&) const = default;
};

constexpr uint16_t default_vxlan_port = 8472, default_wireguard_port = 51820;
constexpr uint16_t nat_keepalive = 25;  // seconds; below the usual 30 s of a NAT's memory for UDP

// What this node wants. Every field but `underlay`, `pool`, `subnet` and `peers` has a default.
struct Overlay {
  OverlayMode mode = OverlayMode::vxlan;
  uint32_t vni = 4242;
  uint16_t port = default_vxlan_port;  // UDP; must be open between the nodes
  WireguardKey private_key = {};       // this node's, where the overlay encrypts
  bool behind_nat = false;             // this node's own address is of no use to others
  bool relays = false;                 // this node is the head
  std::string underlay_link = {};      // the link that carries `underlay`; found by the address when empty
  Address underlay = {};               // this node's own end
  bool compute_checksums = false;      // VXLAN: not left to the network card (checksums.h)
  std::optional<uint32_t> mtu = {};    // of the overlay; found from the routes to the peers when empty
  Subnet pool = {};
  Subnet subnet = {};  // this node's
  std::vector<Peer> peers = {};
};

std::string overlay_link_name(const Overlay& overlay);  // "rayctl.4242", "rayctl.wg"

// Of an outer packet around an inner one.
constexpr uint32_t overlay_overhead(OverlayMode mode, bool underlay_is_v6) {
  return encrypts(mode)   ? 80
         : underlay_is_v6 ? 70
                          : 50;  // WireGuard: always with IPv6's, as a peer may have one
}

// The configuration of an encrypted overlay.
// Two nodes behind NAT can't call each other: either has the other's subnet at the head, which is called by
// both and passes the packets on, each hop encrypted by itself.
WireguardDevice wireguard_device(const Overlay& overlay);

// An encrypted link as wanted or as found.
struct TunnelLink {
  std::string name;
  std::string kind;  // "wireguard" or "tun"
  uint32_t mtu = 0;
  bool up = false;
  bool operator==(const TunnelLink&) const = default;
};

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
  std::optional<Address> via = {};  // VXLAN: the subnet's base
  uint32_t mtu = 0;                 // of the way; 0: the link's
  auto operator<=>(const PeerRoute&) const = default;
};

// What the kernel has, or should have. Lists are sorted.
struct OverlayState {
  std::optional<VxlanLink> link = {};
  std::optional<TunnelLink> tunnel = {};
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
struct CreateTunnel {  // of the kernel's WireGuard; a TUN is made by the process that serves it
  TunnelLink link;
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
using OverlayChange = std::variant<AddUnreachable, DeleteLink, CreateLink, CreateTunnel, SetLink,
                                   DeleteAddress, AddAddress, DeletePeerRoute, DeletePeerForward,
                                   DeletePeerNeighbour, AddPeerNeighbour, AddPeerForward, AddPeerRoute>;

// What `overlay` looks like in the kernel. `underlay_index` and `mtu` were found from the routes.
// Throws when two peers share a subnet, an underlay address, a MAC or a key, or when one has this node's.
OverlayState overlay_state(const Overlay& overlay, int underlay_index, uint32_t mtu);

// Pure: the changes that turn `found` into `wanted`; none when they agree. Of an encrypted link that isn't
// there nothing follows its creation: first it gets its key; a TUN is made by the process that serves it.
std::vector<OverlayChange> diff(const OverlayState& wanted, const OverlayState& found, const Subnet& pool);

std::string describe(const OverlayChange& change);  // "add route 10.64.0.64/26 via 10.64.0.64"

}  // namespace rayctl::net
