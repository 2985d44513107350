#include "net/node_network.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "net/address_plan.h"
#include "net/checksums.h"
#include "net/firewall.h"
#include "net/foreign_firewall.h"
#include "net/held_name.h"
#include "net/host_managers.h"
#include "net/link.h"
#include "net/names.h"
#include "net/overlay_kernel.h"
#include "net/port_guard.h"
#include "net/route.h"
#include "net/sysctl.h"

namespace rayctl::net {

namespace {

constexpr const char* forwarding = "ipv4/ip_forward";
constexpr const char* loose_reverse_path = "2";  // strict would drop what comes back another way

NodeRules rules_of(const NodeNetwork& wanted) {
  const Overlay& overlay = wanted.overlay;
  NodeRules rules{.bridge = wanted.bridge,
                  .mode = overlay.mode,
                  .pool = overlay.pool,
                  .subnet = overlay.subnet,
                  .port = overlay.port,
                  .block_metadata = wanted.metadata == Metadata::blocked,
                  .policy = wanted.policy};
  if (overlay.mode == OverlayMode::none) return rules;
  rules.overlay_link = overlay_link_name(overlay);
  for (const Peer& peer : overlay.peers) {
    if (overlay.mode == OverlayMode::vxlan) rules.peers.push_back(peer.underlay);
    rules.machines.push_back(vtep_address(peer.subnet));
    if (overlay.relays && peer.behind_nat && encrypts(overlay.mode)) rules.relayed.push_back(peer.subnet);
  }
  if (rules.relayed.size() < 2) rules.relayed.clear();
  return rules;
}

bool may_ask_metadata(const NodeNetwork& wanted, const Address& container) {
  if (!wanted.policy) return false;
  const Policy& policy = *wanted.policy;
  return std::any_of(policy.metadata.begin(), policy.metadata.end(), [&](const std::string& label) {
    auto at = policy.labels.find(label);
    return at != policy.labels.end() &&
           std::find(at->second.begin(), at->second.end(), container) != at->second.end();
  });
}

// Whether containers' own requests for published ports are bridged instead of routed (PortMode).
bool bridges_published(const NodeNetwork& wanted) {
  return wanted.policy && sysctl("bridge/bridge-nf-call-iptables") == "1" &&
         std::any_of(wanted.policy->connect.begin(), wanted.policy->connect.end(),
                     [](const Connect& c) { return c.from == public_label; });
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
  // Containers are ports that don't see each other: all goes by the node, where the rules are. It needn't
  // tell them of a shorter way.
  set_sysctl_if_exists("ipv4/conf/" + name + "/send_redirects", "0");
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
  RunTunnel run_tunnel;
  Netlink route{NETLINK_ROUTE};
  Netlink netfilter{NETLINK_NETFILTER};
  Netlink generic{NETLINK_GENERIC};
  NetlinkEvents route_events{
      NETLINK_ROUTE,
      {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH}};
  NetlinkEvents netfilter_events{NETLINK_NETFILTER, {NFNLGRP_NFTABLES}};
  Fd events{check(epoll_create1(EPOLL_CLOEXEC), "cannot make an epoll descriptor")};
  std::set<int> own_links = {};                                    // whose neighbours matter
  std::map<WireguardKey, std::optional<Endpoint>> endpoints = {};  // as wanted at the last look

  State(const std::string& run_dir, RunTunnel run)
      : directory(join(run_dir, "net")), run_tunnel(std::move(run)) {
    make_directories(directory);
    for (int fd : {route_events.fd(), netfilter_events.fd()}) {
      epoll_event event{};
      event.events = EPOLLIN;
      check(epoll_ctl(events.get(), EPOLL_CTL_ADD, fd, &event), "cannot watch the network's changes");
    }
  }

  std::string saved_forwarding() const { return join(directory, "ip_forward"); }
  void configure_wireguard(const Overlay& overlay, std::vector<std::string>& changes);
  uint32_t reconcile_overlay(const Overlay& overlay, std::vector<std::string>& changes);
};

NetworkReconciler::NetworkReconciler(const std::string& run_dir, RunTunnel run_tunnel)
    : state_(std::make_unique<State>(run_dir, std::move(run_tunnel))) {}
NetworkReconciler::~NetworkReconciler() = default;

void NetworkReconciler::State::configure_wireguard(const Overlay& overlay,
                                                   std::vector<std::string>& changes) {
  std::string link = overlay_link_name(overlay);
  auto family = wireguard_family(generic);
  if (!family)
    throw Error(
        "cannot encrypt the overlay: this kernel has no WireGuard (CONFIG_WIREGUARD; try: modprobe "
        "wireguard)");
  WireguardDevice device = wireguard_device(overlay);
  std::set<WireguardKey> moved;
  std::map<WireguardKey, std::optional<Endpoint>> now;
  for (const auto& [key, peer] : device.peers) {
    auto before = endpoints.find(key);
    if (before != endpoints.end() && before->second != peer.endpoint) moved.insert(key);
    now[key] = peer.endpoint;
  }
  std::map<WireguardKey, std::string> names;
  for (const Peer& peer : overlay.peers) names[peer.key] = peer.name;
  WireguardChanges steps = diff(device, observe_device(generic, *family, link), moved, time(nullptr));
  for (Message& message : set_device_messages(*family, link, steps)) {
    Outcome outcome = generic.attempt(message);
    if (outcome.code == EADDRINUSE)
      throw Error("cannot make the overlay: UDP port {} is in use (ss -ulpn 'sport = :{}' shows by what)",
                  overlay.port, overlay.port);
    if (outcome.code) throw SysError(outcome.code, "cannot configure the encrypted link '{}'", link);
  }
  endpoints = std::move(now);
  add(changes, describe(steps, names));
}

// A tunnel that runs makes its link anew when somebody deleted it, but not in no time.
void wait_for_link(Netlink& route, const std::string& name) {
  constexpr std::chrono::milliseconds limit{2000}, pause{5};
  auto end = std::chrono::steady_clock::now() + limit;
  while (!find_link(route, name)) {
    if (std::chrono::steady_clock::now() > end)
      throw Error("cannot make the overlay: the tunnel runs, but its link '{}' isn't there", name);
    std::this_thread::sleep_for(pause);
  }
}

// Returns the MTU.
uint32_t NetworkReconciler::State::reconcile_overlay(const Overlay& overlay,
                                                     std::vector<std::string>& changes) {
  UnderlayFacts underlay = find_underlay(route, overlay);
  OverlayState target = overlay_state(overlay, underlay.index, underlay.mtu);
  // An encrypted link is made and given its key first; the rest of it comes with a second look.
  constexpr int looks = 2;
  for (int look = 0; look < looks; ++look) {
    OverlayState found = observe_overlay(route, overlay);
    bool complete = !target.tunnel || (found.tunnel && found.tunnel->kind == target.tunnel->kind);
    auto steps = diff(target, found, overlay.pool);
    apply_changes(route, overlay, steps);
    for (const OverlayChange& step : steps) changes.push_back(describe(step));
    if (overlay.mode == OverlayMode::wireguard) configure_wireguard(overlay, changes);
    if (overlay.mode == OverlayMode::userspace && look == 0) {
      add(changes, run_tunnel(overlay_link_name(overlay), underlay.mtu, wireguard_device(overlay)));
      if (!complete) wait_for_link(route, overlay_link_name(overlay));
    }
    if (complete) break;
    if (look + 1 == looks)
      throw Error("cannot make the overlay: its link '{}' doesn't stay", target.tunnel->name);
  }
  std::string link = overlay_link_name(overlay);
  tame_link(link);
  if (overlay.compute_checksums && leaves_checksums(link)) {
    compute_checksums(link);
    changes.push_back(fmt::format("compute the checksums of link {} in the kernel", link));
  }
  return underlay.mtu;
}

Reconciled NetworkReconciler::reconcile(const NodeNetwork& wanted) {
  State& state = *state_;
  Reconciled result;
  const Overlay& overlay = wanted.overlay;
  if (overlay.mode == OverlayMode::host) {  // the containers have this machine's own links
    result.mtu = default_mtu();
    return result;
  }
  // What keeps the pool's traffic in comes first, and stands whatever fails below.
  const NodeRules rules = rules_of(wanted);
  if (apply_table(state.netfilter, node_table(rules)))
    result.changes.push_back("set nftables table inet rayctl");
  keep_unreachable(state.route, overlay.pool, result.changes);
  add(result.changes, tell_managers());
  if (overlay.mode == OverlayMode::none) {
    remove_overlay_links(state.route, overlay);
    result.mtu = overlay.mtu.value_or(default_mtu());
  } else {
    result.mtu = state.reconcile_overlay(overlay, result.changes);
  }

  reconcile_bridge(state.route, wanted, result.mtu, result.changes);
  enable_forwarding(state.saved_forwarding(), result.changes);
  std::vector<GuardedPort> ports;
  std::vector<std::string> attached;
  bool reflecting = bridges_published(wanted);
  for (Attachment container : wanted.containers) {
    container.mtu = result.mtu;
    try {
      add(result.changes,
          attach_container(container,
                           may_ask_metadata(wanted, container.address) ? Metadata::allowed : wanted.metadata,
                           reflecting ? PortMode::reflecting : PortMode::isolated));
      ports.push_back({host_link_name(container.container), container.mac, container.address});
      if (reflecting) ports.back().bridge = container_mac(gateway_address(overlay.subnet));
      attached.push_back(container.container);
    } catch (const Error& error) {  // the others go on
      result.problems.push_back(
          fmt::format("attaching container '{}': {}", container.container, error.message()));
    }
  }
  if (apply_port_guard(state.netfilter, ports)) result.changes.push_back("set nftables table netdev rayctl");
  if (reflecting)
    for (const std::string& container : attached) add(result.changes, reflect_port(container));
  if (wanted.foreign_firewall == ForeignFirewall::adjust) {
    ForeignOutcome foreign = permit_forwarding(
        state.netfilter,
        forward_permits(wanted.bridge, overlay.pool, rules.relayed.empty() ? "" : rules.overlay_link),
        input_permits(overlay.mode, overlay.port, overlay_link_name(overlay)));
    add(result.changes, foreign.changes);
    add(result.problems, foreign.problems);
  }
  state.own_links.clear();
  for (const Link& link : list_links(state.route))
    if (link.name == overlay_link_name(overlay)) state.own_links.insert(link.index);
  return result;
}

void NetworkReconciler::remove(const NodeNetwork& wanted) {
  State& state = *state_;
  for (const Attachment& container : wanted.containers) detach_container(container.container);
  delete_link(state.route, wanted.bridge);
  Overlay overlay = wanted.overlay;
  for (OverlayMode mode : {OverlayMode::vxlan, OverlayMode::wireguard}) {
    overlay.mode = mode;
    withdraw_permits(state.netfilter,
                     forward_permits(wanted.bridge, overlay.pool, overlay_link_name(overlay)));
    withdraw_permits(state.netfilter, input_permits(mode, overlay.port, overlay_link_name(overlay)));
  }
  // What keeps the pool's traffic in goes last.
  remove_overlay(state.route, wanted.overlay);
  remove_port_guard(state.netfilter);
  delete_table(state.netfilter, std::string(node_table_name));
  untell_managers();
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
    } else if (answer.type == RTM_NEWADDR || answer.type == RTM_DELADDR) {
      auto header = answer.fixed<ifaddrmsg>();  // IPv6's link-local ones, too
      concerns |= !header || header->ifa_family != AF_INET6 || header->ifa_scope != RT_SCOPE_LINK;
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

bool has_address(const Address& address) {
  Netlink route(NETLINK_ROUTE);
  std::vector<LinkAddress> all = list_addresses(route, address.family);
  return std::any_of(all.begin(), all.end(), [&](const LinkAddress& a) { return a.address == address; });
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
