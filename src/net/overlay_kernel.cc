#include "net/overlay_kernel.h"

#include <fcntl.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <map>
#include <set>

#include "net/link.h"
#include "net/route.h"
#include "net/sysctl.h"

namespace rayctl::net {

namespace {

constexpr uint32_t worst_metric = UINT32_MAX;
constexpr int host_length = 32;

bool is_guard(const Route& route, const Subnet& pool) {
  return route.type == RTN_UNREACHABLE && route.destination == pool;
}

Route unreachable(const Subnet& pool) {
  Route route;
  route.destination = pool;
  route.type = RTN_UNREACHABLE;
  route.metric = worst_metric;
  return route;
}

Route route_of(const PeerRoute& peer, int link) {
  Route route;
  route.destination = peer.subnet;
  route.via = peer.via;
  route.link = link;
  route.on_link = peer.via.has_value();
  route.mtu = peer.mtu;
  return route;
}

Neighbour neighbour_of(const PeerNeighbour& peer, int link) {
  return {link, AF_INET, peer.address, peer.mac, true};
}

Neighbour neighbour_of(const PeerForward& peer, int link) {
  return {link, AF_BRIDGE, peer.underlay, peer.mac, true};
}

// Performs one change; those that come in thousands are collected in `batch`, in order.
struct Apply {
  Netlink& netlink;
  const std::string name;
  std::vector<Message>& batch;
  std::optional<int> known_index = {};

  int index() {
    if (!known_index) known_index = require_link(netlink, name).index;
    return *known_index;
  }

  void operator()(const AddUnreachable& c) { replace_route(netlink, unreachable(c.pool)); }
  void operator()(const DeleteLink& c) { delete_link(netlink, c.name); }
  void operator()(const CreateLink& c) {
    create_vxlan(netlink, c.link);
    set_sysctl_if_exists("ipv6/conf/" + name + "/disable_ipv6", "1");
    try {
      set_link(netlink, index(), name, {.up = true});
    } catch (const SysError& error) {
      if (error.code() != EADDRINUSE) throw;
      delete_link(netlink, name);
      throw Error("cannot make the overlay: UDP port {} is in use (ss -ulpn 'sport = :{}' shows by what)",
                  c.link.port, c.link.port);
    }
  }
  void operator()(const CreateTunnel& c) { create_wireguard(netlink, c.link); }  // up once it has its key
  void operator()(const SetLink& c) {
    LinkSettings settings{.mtu = c.mtu, .mac = c.mac};
    if (c.up) settings.up = true;
    set_link(netlink, index(), name, settings);
  }
  void operator()(const AddAddress& c) { add_address(netlink, {index(), c.address, host_length}); }
  void operator()(const DeleteAddress& c) { delete_address(netlink, {index(), c.address, host_length}); }
  void operator()(const DeletePeerRoute& c) {
    batch.push_back(delete_route_message(route_of(c.route, index())));
  }
  void operator()(const DeletePeerForward& c) {
    batch.push_back(delete_neighbour_message(neighbour_of(c.forward, index())));
  }
  void operator()(const DeletePeerNeighbour& c) {
    batch.push_back(delete_neighbour_message(neighbour_of(c.neighbour, index())));
  }
  void operator()(const AddPeerNeighbour& c) {
    batch.push_back(replace_neighbour_message(neighbour_of(c.neighbour, index())));
  }
  void operator()(const AddPeerForward& c) {
    batch.push_back(replace_neighbour_message(neighbour_of(c.forward, index())));
  }
  void operator()(const AddPeerRoute& c) {
    batch.push_back(replace_route_message(route_of(c.route, index())));
  }
};

bool is_gone(int code) {
  return code == ESRCH || code == ENOENT || code == ENODEV;
}

bool is_deletion(const OverlayChange& change) {
  return std::holds_alternative<DeletePeerRoute>(change) ||
         std::holds_alternative<DeletePeerForward>(change) ||
         std::holds_alternative<DeletePeerNeighbour>(change);
}

}  // namespace

KernelParts kernel_parts() {
  KernelParts parts;
  parts.wireguard = kernel_has_wireguard();
  // Opening loads the module; the node is absent where udev or a container's /dev has none.
  parts.tun = static_cast<bool>(Fd{open("/dev/net/tun", O_RDWR | O_CLOEXEC)});
  return parts;
}

UnderlayFacts find_underlay(Netlink& route, const Overlay& overlay) {
  UnderlayFacts facts;
  std::map<int, Link> links;
  for (const Link& link : list_links(route)) links[link.index] = link;
  for (const LinkAddress& address : list_addresses(route, overlay.underlay.family))
    if (address.address == overlay.underlay &&
        (overlay.underlay_link.empty() || links[address.link].name == overlay.underlay_link))
      facts.index = address.link;
  bool needs_index = overlay.mode == OverlayMode::vxlan;  // others take whatever route there is
  if (facts.index == 0 && needs_index)
    throw Error("cannot make the overlay: this node's address '{}' is on no link{}",
                to_string(overlay.underlay),
                overlay.underlay_link.empty() ? "" : " named '" + overlay.underlay_link + "'");
  uint32_t overhead = overlay_overhead(overlay.mode, !overlay.underlay.is_v4());
  uint32_t least = facts.index ? links[facts.index].mtu : 1500;
  if (!overlay.mtu) {
    std::vector<Address> ends;
    for (const Peer& peer : overlay.peers)
      if (!peer.behind_nat) ends.push_back(peer.underlay);
    for (RouteWay way : ways_to(route, ends)) {
      auto found = links.find(way.link);
      if (way.mtu == 0 && found != links.end() && !found->second.loopback) way.mtu = found->second.mtu;
      if (way.mtu != 0) least = std::min(least, way.mtu);
    }
  }
  facts.mtu = overlay.mtu.value_or(least > overhead ? least - overhead : 0);
  return facts;
}

OverlayState observe_overlay(Netlink& route, const Overlay& overlay) {
  OverlayState state;
  std::string name = overlay_link_name(overlay);
  // Of both kinds: what another mode left is found, too.
  Overlay other = overlay;
  other.mode = OverlayMode::vxlan;
  if (auto link = find_link(route, overlay_link_name(other)))
    state.link =
        link->vxlan.value_or(VxlanLink{.name = link->name});  // of another kind it has VNI 0: replaced
  other.mode = OverlayMode::wireguard;
  if (auto link = find_link(route, overlay_link_name(other)))
    state.tunnel = TunnelLink{link->name, link->kind, link->mtu, link->up};
  for (const Route& r : list_routes(route, AF_INET, {.table = RT_TABLE_MAIN, .protocol = route_protocol}))
    if (is_guard(r, overlay.pool)) state.pool_unreachable = true;
  auto link = find_link(route, name);
  if (!link) return state;
  for (const LinkAddress& address : list_addresses(route, AF_INET, link->index))
    state.addresses.push_back(address.address);
  for (const Neighbour& n : list_neighbours(route, AF_INET, link->index))
    if (n.permanent) state.neighbours.push_back({n.address, n.mac});
  for (const Neighbour& n : list_neighbours(route, AF_BRIDGE, link->index))
    if (n.permanent) state.forwards.push_back({n.mac, n.address});
  for (const Route& r :
       list_routes(route, AF_INET, {.table = RT_TABLE_MAIN, .protocol = route_protocol, .link = link->index}))
    if (r.type == RTN_UNICAST) state.routes.push_back({r.destination, r.via, r.mtu});
  std::sort(state.addresses.begin(), state.addresses.end());
  std::sort(state.neighbours.begin(), state.neighbours.end());
  std::sort(state.forwards.begin(), state.forwards.end());
  std::sort(state.routes.begin(), state.routes.end());
  return state;
}

void apply_changes(Netlink& route, const Overlay& overlay, const std::vector<OverlayChange>& changes) {
  std::vector<Message> batch;
  std::vector<const OverlayChange*> batched;
  Apply apply{route, overlay_link_name(overlay), batch};
  for (const OverlayChange& change : changes) {
    size_t before = batch.size();
    std::visit(apply, change);
    if (batch.size() > before) batched.push_back(&change);
  }
  std::vector<Outcome> outcomes = route.attempt_all(batch);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].code == 0 || (is_deletion(*batched[i]) && is_gone(outcomes[i].code))) continue;
    SysError error(outcomes[i].code, "cannot {}", describe(*batched[i]));
    if (!outcomes[i].text.empty()) error.hint("{}", outcomes[i].text);
    throw error;
  }
}

void keep_unreachable(Netlink& route, const Subnet& pool, std::vector<std::string>& changes) {
  for (const Route& r : list_routes(route, AF_INET, {.table = RT_TABLE_MAIN, .protocol = route_protocol}))
    if (is_guard(r, pool)) return;
  replace_route(route, unreachable(pool));
  changes.push_back(describe(OverlayChange(AddUnreachable{pool})));
}

void remove_overlay_links(Netlink& route, const Overlay& overlay) {
  Overlay other = overlay;
  for (OverlayMode mode : {OverlayMode::vxlan, OverlayMode::wireguard}) {
    other.mode = mode;
    delete_link(route, overlay_link_name(other));
  }
}

void remove_overlay(Netlink& route, const Overlay& overlay) {
  remove_overlay_links(route, overlay);
  delete_route(route, unreachable(overlay.pool));
}

}  // namespace rayctl::net
