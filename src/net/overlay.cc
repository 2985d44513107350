#include "net/overlay.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "net/address_plan.h"

namespace rayctl::net {

namespace {

constexpr uint32_t vni_limit = 1 << 24;
constexpr uint32_t mtu_least = 576;

std::string text(const WireguardKey& key) {
  return to_text(key);
}
template <class T>
std::string text(const T& value) {
  return to_string(value);
}

void check_peers(const Overlay& overlay) {
  bool vxlan = overlay.mode == OverlayMode::vxlan;
  std::map<Subnet, std::string> subnets = {{overlay.subnet, "this node"}};
  std::map<WireguardKey, std::string> keys;
  if (encrypts(overlay.mode)) keys[public_key(overlay.private_key)] = "this node";
  std::map<Address, std::string> underlays = {{overlay.underlay, "this node"}};
  std::map<Mac, std::string> macs = {{vtep_mac(overlay.subnet), "this node"}};
  auto unique = [](auto& seen, const auto& key, const Peer& peer, std::string_view what) {
    auto [at, added] = seen.emplace(key, peer.name);
    if (!added)
      throw Error("cannot add peer '{}' to the overlay: it has the {} '{}' of '{}'", peer.name, what,
                  text(key), at->second);
  };
  for (const Peer& peer : overlay.peers) {
    if (!contains(overlay.pool, peer.subnet))
      throw Error("cannot add peer '{}' to the overlay: its subnet '{}' is outside pool '{}'", peer.name,
                  to_string(peer.subnet), to_string(overlay.pool));
    unique(subnets, peer.subnet, peer, "subnet");
    if (encrypts(overlay.mode)) unique(keys, peer.key, peer, "key");
    if (!vxlan) continue;
    if (peer.underlay.family != overlay.underlay.family)
      throw Error("cannot add peer '{}' to the overlay: '{}' is not of the IP version of this node's '{}'",
                  peer.name, to_string(peer.underlay), to_string(overlay.underlay));
    unique(underlays, peer.underlay, peer, "address");
    unique(macs, peer.mac, peer, "MAC");
  }
}

// For lists whose elements have a key: calls `remove` for what is found only (or, when `replaces`, only if
// its key isn't wanted any more) and `add` for what is wanted only.
template <class T, class Key, class Remove, class Add>
void compare(const std::vector<T>& wanted, const std::vector<T>& found, Key key, Remove remove, Add add) {
  std::map<decltype(key(wanted[0])), const T*> by_key;
  for (const T& w : wanted) by_key[key(w)] = &w;
  std::set<T> same;
  for (const T& f : found) {
    auto at = by_key.find(key(f));
    if (at == by_key.end())
      remove(f);
    else if (*at->second == f)
      same.insert(f);  // else the addition replaces it
  }
  for (const T& w : wanted)
    if (!same.contains(w)) add(w);
}

bool needs_new_link(const VxlanLink& wanted, const VxlanLink& found) {
  return wanted.vni != found.vni || wanted.port != found.port || wanted.local != found.local ||
         wanted.underlay_index != found.underlay_index || wanted.learning != found.learning;
}

std::optional<SetLink> set_tunnel_change(const TunnelLink& wanted, const TunnelLink& found) {
  SetLink change{wanted.name};
  if (wanted.mtu != found.mtu) change.mtu = wanted.mtu;
  change.up = wanted.up && !found.up;
  return change.mtu || change.up ? std::optional(change) : std::nullopt;
}

SetLink set_link_change(const VxlanLink& wanted, const VxlanLink& found) {
  SetLink change{wanted.name};
  if (wanted.mtu != found.mtu) change.mtu = wanted.mtu;
  if (wanted.mac != found.mac) change.mac = wanted.mac;
  change.up = wanted.up && !found.up;
  return change;
}

}  // namespace

std::string_view mode_name(OverlayMode mode) {
  switch (mode) {
    case OverlayMode::none:
      return "none";
    case OverlayMode::host:
      return "host";
    case OverlayMode::vxlan:
      return "vxlan";
    case OverlayMode::wireguard:
      return "wireguard";
    case OverlayMode::userspace:
      return "userspace";
  }
  return "?";
}

OverlayMode choose_mode(std::string_view cluster, std::string_view own, const KernelParts& kernel) {
  bool encrypted = cluster == "auto" || cluster == "wireguard" || cluster == "userspace";
  if (!encrypted && cluster != "vxlan" && cluster != "host")
    throw Error("cannot make the overlay: the cluster's mode '{}' isn't one of this version", cluster);
  if (!own.empty() && own != "auto" && own != cluster &&
      !(encrypted && (own == "wireguard" || own == "userspace")))
    throw Error("cannot use overlay '{}': the cluster's is '{}', for all its nodes", own, cluster);
  if (cluster == "host") return OverlayMode::host;
  if (!encrypted) {
    if (!kernel.vxlan)
      throw Error("cannot make the overlay: this kernel has no VXLAN (CONFIG_VXLAN; try: modprobe vxlan)");
    return OverlayMode::vxlan;
  }
  std::string_view how = own.empty() || own == "auto" ? cluster : own;
  if (how == "auto") how = kernel.wireguard ? "wireguard" : "userspace";
  if (how == "wireguard") {
    if (!kernel.wireguard)
      throw Error(
          "cannot encrypt the overlay: this kernel has no WireGuard (CONFIG_WIREGUARD; try: modprobe "
          "wireguard, or "
          "--overlay auto, which does without it)");
    return OverlayMode::wireguard;
  }
  if (!kernel.tun)
    throw Error("cannot encrypt the overlay: this kernel has no TUN links (CONFIG_TUN; try: modprobe tun)");
  return OverlayMode::userspace;
}

std::string overlay_link_name(const Overlay& overlay) {
  return encrypts(overlay.mode) ? "rayctl.wg" : fmt::format("rayctl.{}", overlay.vni);
}

WireguardDevice wireguard_device(const Overlay& overlay) {
  WireguardDevice device{.private_key = overlay.private_key, .port = overlay.port};
  auto relay = std::find_if(overlay.peers.begin(), overlay.peers.end(),
                            [](const Peer& peer) { return peer.relays && !peer.behind_nat; });
  bool relayed = overlay.behind_nat && relay != overlay.peers.end();
  for (const Peer& peer : overlay.peers) {
    if (relayed && peer.behind_nat) {
      device.peers[relay->key].allowed.push_back(peer.subnet);
      continue;
    }
    WireguardPeer& p = device.peers[peer.key];
    if (!peer.behind_nat) p.endpoint = Endpoint{peer.underlay, overlay.port};
    if (overlay.behind_nat) p.keepalive = nat_keepalive;
    p.allowed.push_back(peer.subnet);
  }
  for (auto& [key, peer] : device.peers) std::sort(peer.allowed.begin(), peer.allowed.end());
  return device;
}

namespace {
uint32_t way_mtu(const Peer& peer, uint32_t link) {
  return peer.path_mtu < link ? peer.path_mtu : 0;
}
}  // namespace

OverlayState overlay_state(const Overlay& overlay, int underlay_index, uint32_t mtu) {
  if (overlay.vni == 0 || overlay.vni >= vni_limit)
    throw Error("cannot make an overlay with VNI {}: it must be from 1 to {}", overlay.vni, vni_limit - 1);
  if (!contains(overlay.pool, overlay.subnet))
    throw Error("cannot make the overlay: subnet '{}' is outside pool '{}'", to_string(overlay.subnet),
                to_string(overlay.pool));
  if (mtu < mtu_least) throw Error("cannot make the overlay: MTU {} is below {}", mtu, mtu_least);
  check_peers(overlay);
  OverlayState state;
  state.pool_unreachable = true;
  state.addresses = {vtep_address(overlay.subnet)};
  if (encrypts(overlay.mode)) {
    state.tunnel = TunnelLink{.name = overlay_link_name(overlay),
                              .kind = overlay.mode == OverlayMode::wireguard ? "wireguard" : "tun",
                              .mtu = mtu,
                              .up = true};
    for (const Peer& peer : overlay.peers)
      state.routes.push_back({peer.subnet, std::nullopt, way_mtu(peer, mtu)});
    std::sort(state.routes.begin(), state.routes.end());
    return state;
  }
  state.link = VxlanLink{.name = overlay_link_name(overlay),
                         .vni = overlay.vni,
                         .port = overlay.port,
                         .local = overlay.underlay,
                         .underlay_index = underlay_index,
                         .mac = vtep_mac(overlay.subnet),
                         .mtu = mtu,
                         .up = true,
                         .learning = false};
  for (const Peer& peer : overlay.peers) {
    Address end = vtep_address(peer.subnet);
    state.neighbours.push_back({end, peer.mac});
    state.forwards.push_back({peer.mac, peer.underlay});
    state.routes.push_back({peer.subnet, end, way_mtu(peer, mtu)});
  }
  std::sort(state.neighbours.begin(), state.neighbours.end());
  std::sort(state.forwards.begin(), state.forwards.end());
  std::sort(state.routes.begin(), state.routes.end());
  return state;
}

std::vector<OverlayChange> diff(const OverlayState& wanted, const OverlayState& found, const Subnet& pool) {
  std::vector<OverlayChange> changes;
  if (wanted.pool_unreachable && !found.pool_unreachable) changes.push_back(AddUnreachable{pool});
  const OverlayState* had = &found;
  OverlayState nothing;
  if (found.link && (!wanted.link || needs_new_link(*wanted.link, *found.link))) {
    changes.push_back(DeleteLink{found.link->name});
    if (wanted.link) had = &nothing;  // the kernel forgets all that was on it
  }
  if (found.tunnel && (!wanted.tunnel || wanted.tunnel->kind != found.tunnel->kind)) {
    changes.push_back(DeleteLink{found.tunnel->name});
    if (wanted.tunnel) had = &nothing;
  }
  if (!wanted.link && !wanted.tunnel) return changes;
  if (wanted.link) {
    if (!had->link)
      changes.push_back(CreateLink{*wanted.link});
    else if (*had->link != *wanted.link)
      changes.push_back(set_link_change(*wanted.link, *had->link));
  } else if (!had->tunnel) {
    // The rest follows once it is there and has its key.
    if (wanted.tunnel->kind == "wireguard") changes.push_back(CreateTunnel{*wanted.tunnel});
    return changes;
  } else if (auto set = set_tunnel_change(*wanted.tunnel, *had->tunnel)) {
    changes.push_back(*set);
  }
  // A new MAC makes the kernel forget the link's neighbours.
  bool forgets = wanted.link && had->link && had->link->mac != wanted.link->mac;

  compare(
      wanted.addresses, had->addresses, [](const Address& a) { return a; },
      [&](const Address& a) { changes.push_back(DeleteAddress{a}); },
      [&](const Address& a) { changes.push_back(AddAddress{a}); });

  // Additions per kind are collected: all removals come first, and a route last of its peer's three.
  std::vector<OverlayChange> additions;
  std::vector<OverlayChange> routes;
  compare(
      wanted.routes, had->routes, [](const PeerRoute& r) { return r.subnet; },
      [&](const PeerRoute& r) { changes.push_back(DeletePeerRoute{r}); },
      [&](const PeerRoute& r) { routes.push_back(AddPeerRoute{r}); });
  std::vector<OverlayChange> neighbours;
  compare(
      wanted.forwards, had->forwards, [](const PeerForward& f) { return f.mac; },
      [&](const PeerForward& f) { changes.push_back(DeletePeerForward{f}); },
      [&](const PeerForward& f) { additions.push_back(AddPeerForward{f}); });
  compare(
      wanted.neighbours, forgets ? nothing.neighbours : had->neighbours,
      [](const PeerNeighbour& n) { return n.address; },
      [&](const PeerNeighbour& n) { changes.push_back(DeletePeerNeighbour{n}); },
      [&](const PeerNeighbour& n) { neighbours.push_back(AddPeerNeighbour{n}); });
  for (auto* list : {&neighbours, &additions, &routes})
    changes.insert(changes.end(), list->begin(), list->end());
  return changes;
}

namespace {

struct Describe {
  std::string operator()(const AddUnreachable& c) const {
    return "add route unreachable " + to_string(c.pool);
  }
  std::string operator()(const DeleteLink& c) const { return "delete link " + c.name; }
  std::string operator()(const CreateLink& c) const {
    return fmt::format("create link {} (VXLAN {}, UDP port {}, from {}, MTU {})", c.link.name, c.link.vni,
                       c.link.port, to_string(c.link.local), c.link.mtu);
  }
  std::string operator()(const CreateTunnel& c) const {
    return fmt::format("create link {} (WireGuard, MTU {})", c.link.name, c.link.mtu);
  }
  std::string operator()(const SetLink& c) const {
    std::string text = "set link " + c.name;
    if (c.mtu) text += fmt::format(", MTU {}", *c.mtu);
    if (c.mac) text += ", MAC " + to_string(*c.mac);
    return text + (c.up ? ", up" : "");
  }
  std::string operator()(const AddAddress& c) const { return "add address " + to_string(c.address); }
  std::string operator()(const DeleteAddress& c) const { return "delete address " + to_string(c.address); }
  std::string operator()(const DeletePeerRoute& c) const { return "delete route " + text(c.route); }
  std::string operator()(const DeletePeerForward& c) const { return "delete forward " + text(c.forward); }
  std::string operator()(const DeletePeerNeighbour& c) const {
    return "delete neighbour " + text(c.neighbour);
  }
  std::string operator()(const AddPeerNeighbour& c) const { return "add neighbour " + text(c.neighbour); }
  std::string operator()(const AddPeerForward& c) const { return "add forward " + text(c.forward); }
  std::string operator()(const AddPeerRoute& c) const { return "add route " + text(c.route); }

  static std::string text(const PeerRoute& r) {
    return to_string(r.subnet) + (r.via ? " via " + to_string(*r.via) : "") +
           (r.mtu ? fmt::format(" MTU {}", r.mtu) : "");
  }
  static std::string text(const PeerForward& f) { return to_string(f.mac) + " to " + to_string(f.underlay); }
  static std::string text(const PeerNeighbour& n) { return to_string(n.address) + " at " + to_string(n.mac); }
};

}  // namespace

std::string describe(const OverlayChange& change) {
  return std::visit(Describe{}, change);
}

}  // namespace rayctl::net
