#include "net/node_network.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "net/address_plan.h"
#include "net/firewall.h"
#include "net/foreign_firewall.h"
#include "net/held_name.h"
#include "net/link.h"
#include "net/names.h"
#include "net/overlay_kernel.h"
#include "net/route.h"
#include "net/sysctl.h"

namespace rayctl::net {

namespace {

constexpr const char* forwarding = "ipv4/ip_forward";
constexpr const char* loose_reverse_path = "2";  // strict would drop what comes back another way

NodeRules rules_of(const NodeNetwork& wanted) {
  NodeRules rules{.bridge = wanted.bridge,
                  .pool = wanted.overlay.pool,
                  .subnet = wanted.overlay.subnet,
                  .vxlan_port = wanted.overlay.port,
                  .block_metadata = wanted.metadata == Metadata::blocked};
  if (wanted.mode == OverlayMode::vxlan) {
    rules.overlay_link = overlay_link_name(wanted.overlay);
    for (const Peer& peer : wanted.overlay.peers) rules.peers.push_back(peer.underlay);
  }
  return rules;
}

void add(std::vector<std::string>& list, const std::vector<std::string>& more) {
  list.insert(list.end(), more.begin(), more.end());
}

// The value before ours, kept for remove(), also over a kill -9.
void enable_forwarding(const std::string& saved, std::vector<std::string>& changes) {
  std::string before = sysctl(forwarding).value_or("");
  if (before == "1") return;
  if (!exists(saved)) replace_file(saved, before);
  set_sysctl(forwarding, "1");
  changes.push_back("enable IPv4 forwarding");
}

void tame_link(const std::string& name) {
  set_sysctl_if_exists("ipv6/conf/" + name + "/disable_ipv6", "1");
  set_sysctl_if_exists("ipv4/conf/" + name + "/rp_filter", loose_reverse_path);
}

void reconcile_bridge(Netlink& route, const NodeNetwork& wanted, uint32_t mtu,
                      std::vector<std::string>& changes) {
  const std::string& name = wanted.bridge;
  Address gateway = gateway_address(wanted.overlay.subnet);
  Mac mac = container_mac(gateway);
  auto link = find_link(route, name);
  if (link && link->kind != "bridge")
    throw Error("cannot use link '{}': it is no bridge (remove it: ip link del {})", name, name);
  if (!link) {
    create_bridge(route, name, mac, mtu);
    changes.push_back("create bridge " + name);
    link = require_link(route, name);
  }
  tame_link(name);
  LinkSettings settings;
  if (link->mtu != mtu) settings.mtu = mtu;
  if (link->mac != mac) settings.mac = mac;
  if (!link->up) settings.up = true;
  if (settings.mtu || settings.mac || settings.up) {
    set_link(route, link->index, name, settings);
    changes.push_back(fmt::format("set bridge {} to MTU {}, MAC {}, up", name, mtu, to_string(mac)));
  }
  LinkAddress address{link->index, gateway, wanted.overlay.subnet.length};
  bool there = false;
  for (const LinkAddress& found : list_addresses(route, AF_INET, link->index)) {
    if (found == address) {
      there = true;
      continue;
    }
    delete_address(route, found);
    changes.push_back(fmt::format("delete address {} of {}", to_string(found.address), name));
  }
  if (there) return;
  add_address(route, address);
  changes.push_back(fmt::format("add address {}/{} to {}", to_string(gateway), address.length, name));
}

uint32_t default_mtu() {
  constexpr uint32_t ethernet = 1500;
  try {
    return default_underlay().mtu;
  } catch (const Error&) {  // no way out: containers see each other all the same
    return ethernet;
  }
}

}  // namespace

struct NetworkReconciler::State {
  std::string directory;
  Netlink route{NETLINK_ROUTE};
  Netlink netfilter{NETLINK_NETFILTER};
  NetlinkEvents route_events{NETLINK_ROUTE,
                             {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH}};
  NetlinkEvents netfilter_events{NETLINK_NETFILTER, {NFNLGRP_NFTABLES}};
  Fd events{check(epoll_create1(EPOLL_CLOEXEC), "cannot make an epoll descriptor")};
  std::set<int> own_links = {};  // whose neighbours matter

  explicit State(const std::string& run_dir) : directory(join(run_dir, "net")) {
    make_directories(directory);
    for (int fd : {route_events.fd(), netfilter_events.fd()}) {
      epoll_event event{};
      event.events = EPOLLIN;
      check(epoll_ctl(events.get(), EPOLL_CTL_ADD, fd, &event), "cannot watch the network's changes");
    }
  }

  std::string saved_forwarding() const { return join(directory, "ip_forward"); }
};

NetworkReconciler::NetworkReconciler(const std::string& run_dir) : state_(std::make_unique<State>(run_dir)) {}
NetworkReconciler::~NetworkReconciler() = default;

Reconciled NetworkReconciler::reconcile(const NodeNetwork& wanted) {
  State& state = *state_;
  Reconciled result;
  bool overlaid = wanted.mode == OverlayMode::vxlan;
  // The rules come first: nothing may get out before they stand, or while the underlay is away.
  if (apply_table(state.netfilter, node_table(rules_of(wanted))))
    result.changes.push_back("set nftables table inet rayctl");
  UnderlayFacts underlay;
  if (overlaid) underlay = find_underlay(state.route, wanted.overlay);
  result.mtu = overlaid ? underlay.mtu : wanted.overlay.mtu.value_or(default_mtu());
  OverlayState target;
  if (overlaid) target = overlay_state(wanted.overlay, underlay.index, underlay.mtu);
  target.pool_unreachable = true;
  auto changes = diff(target, observe_overlay(state.route, wanted.overlay), wanted.overlay.pool);
  apply_changes(state.route, wanted.overlay, changes);
  for (const OverlayChange& change : changes) result.changes.push_back(describe(change));
  if (overlaid) tame_link(overlay_link_name(wanted.overlay));

  reconcile_bridge(state.route, wanted, result.mtu, result.changes);
  enable_forwarding(state.saved_forwarding(), result.changes);
  for (Attachment container : wanted.containers) {
    container.mtu = result.mtu;
    try {
      add(result.changes, attach_container(container, wanted.metadata));
    } catch (const Error& error) {  // the others go on
      result.problems.push_back(
          fmt::format("attaching container '{}': {}", container.container, error.message()));
    }
  }
  if (wanted.foreign_firewall == ForeignFirewall::adjust) {
    ForeignOutcome foreign =
        permit_forwarding(state.netfilter, forward_permits(wanted.bridge, wanted.overlay.pool),
                          overlaid ? input_permits(wanted.overlay.port) : std::vector<NftRule>{});
    add(result.changes, foreign.changes);
    add(result.problems, foreign.problems);
  }
  state.own_links.clear();
  for (const Link& link : list_links(state.route))
    if (link.name == overlay_link_name(wanted.overlay)) state.own_links.insert(link.index);
  return result;
}

void NetworkReconciler::remove(const NodeNetwork& wanted) {
  State& state = *state_;
  for (const Attachment& container : wanted.containers) detach_container(container.container);
  delete_link(state.route, wanted.bridge);
  withdraw_permits(state.netfilter, forward_permits(wanted.bridge, wanted.overlay.pool));
  withdraw_permits(state.netfilter, input_permits(wanted.overlay.port));
  // What keeps the pool's traffic in goes last.
  remove_overlay(state.route, wanted.overlay);
  delete_table(state.netfilter, std::string(node_table_name));
  if (auto before = read_file_if_exists(state.saved_forwarding())) set_sysctl(forwarding, *before);
  remove_tree(state.directory);
}

int NetworkReconciler::event_fd() const {
  return state_->events.get();
}

bool NetworkReconciler::drain_events() {
  State& state = *state_;
  bool concerns = false;
  bool complete = state.route_events.drain([&](const Answer& answer) {
    if (answer.type == RTM_NEWNEIGH || answer.type == RTM_DELNEIGH) {
      auto header = answer.fixed<ndmsg>();  // the host's own neighbours come and go all the time
      concerns |= header && state.own_links.contains(header->ndm_ifindex);
    } else {
      concerns = true;
    }
  });
  complete &= state.netfilter_events.drain([&](const Answer&) { concerns = true; });
  return concerns || !complete;
}

Fd claim_network_namespace() {
  Fd claim = hold_name("rayctl-node-network");
  if (!claim)
    throw Error(
        "cannot set up the network: another rayctl node runs in this network namespace "
        "(several nodes on one machine need a network namespace each)");
  return claim;
}

Underlay underlay_towards(const Address& peer) {
  Netlink route(NETLINK_ROUTE);
  auto choice = route_to(route, peer);
  if (!choice) throw Error("cannot find a route to '{}'", to_string(peer));
  Underlay underlay{choice->source};
  for (const Link& link : list_links(route))
    if (link.index == choice->link) {
      underlay.link = link.name;
      underlay.mtu = link.mtu;
    }
  return underlay;
}

Underlay default_underlay() {
  // Documentation addresses (RFC 5737): routed by the default route alone, and no packet is sent.
  Netlink route(NETLINK_ROUTE);
  for (const char* somewhere : {"203.0.113.1", "2001:db8::1"}) {
    Address address = parse_address(somewhere);
    auto choice = route_to(route, address);
    if (choice) return underlay_towards(address);
  }
  throw Error("cannot choose this node's address: there is no default route (give one with --listen)");
}

}  // namespace rayctl::net
