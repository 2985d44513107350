#include "net/inside.h"

#include <linux/rtnetlink.h>

#include "net/link.h"
#include "net/route.h"
#include "net/sysctl.h"

namespace rayctl::net {

namespace {

// A netlink socket of the namespace; it stays one wherever it is used.
Netlink netlink_of(const Netns& netns) {
  std::optional<Netlink> netlink;
  netns.run([&] { netlink.emplace(NETLINK_ROUTE); });
  return std::move(*netlink);
}

void raise_link(Netlink& netlink, const Link& link, std::vector<std::string>& changes) {
  if (link.up) return;
  set_link(netlink, link.index, link.name, {.up = true});
  changes.push_back("bring up " + link.name);
}

}  // namespace

void prepare_inside(const Netns& netns) {
  netns.run([] {
    set_sysctl_if_exists("ipv6/conf/default/disable_ipv6", "1");
    for (const char* which : {"all", "default"})
      set_sysctl_if_exists(fmt::format("ipv4/conf/{}/accept_redirects", which), "0");
  });
}

bool has_link_inside(const Netns& netns, const std::string& name) {
  Netlink netlink = netlink_of(netns);
  return find_link(netlink, name).has_value();
}

void delete_link_inside(const Netns& netns, const std::string& name) {
  Netlink netlink = netlink_of(netns);
  delete_link(netlink, name);
}

namespace {

void set_unreachable(Netlink& netlink, const std::vector<Subnet>& wanted, std::vector<std::string>& changes) {
  std::vector<Route> found =
      list_routes(netlink, AF_INET, {.table = RT_TABLE_MAIN, .protocol = route_protocol});
  std::erase_if(found, [](const Route& route) { return route.type != RTN_UNREACHABLE; });
  for (const Subnet& subnet : wanted) {
    if (!subnet.base.is_v4()) continue;
    if (std::erase_if(found, [&](const Route& route) { return route.destination == subnet; })) continue;
    Route route{.destination = subnet, .type = RTN_UNREACHABLE};
    replace_route(netlink, route);
    changes.push_back("add route " + describe(route));
  }
  for (const Route& route : found) {
    delete_route(netlink, route);
    changes.push_back("delete route " + describe(route));
  }
}

}  // namespace

std::vector<std::string> configure_inside(const Netns& netns, const InsideLink& wanted) {
  std::vector<std::string> changes;
  Netlink netlink = netlink_of(netns);
  if (auto loopback = find_link(netlink, "lo")) raise_link(netlink, *loopback, changes);
  Link link = require_link(netlink, wanted.name);
  LinkSettings settings;
  if (link.mtu != wanted.mtu) settings.mtu = wanted.mtu;
  if (link.mac != wanted.mac) settings.mac = wanted.mac;
  if (settings.mtu || settings.mac) {
    set_link(netlink, link.index, link.name, settings);
    changes.push_back(fmt::format("set {} to MTU {}, MAC {}", link.name, wanted.mtu, to_string(wanted.mac)));
  }
  LinkAddress address{link.index, wanted.address, wanted.prefix_length};
  bool there = false;
  for (const LinkAddress& found : list_addresses(netlink, AF_INET, link.index)) {
    if (found == address) {
      there = true;
      continue;
    }
    // Ray takes whichever address comes first: there is one.
    delete_address(netlink, found);
    changes.push_back("delete address " + to_string(found.address));
  }
  if (!there) {
    add_address(netlink, address);
    changes.push_back("add address " + to_string(wanted.address));
  }
  raise_link(netlink, link, changes);
  set_unreachable(netlink, wanted.unreachable, changes);
  Route route;
  route.destination = {Address{}, 0};
  route.via = wanted.gateway;
  route.link = link.index;
  route.on_link = true;
  for (const Route& found : list_routes(netlink, AF_INET, {.table = RT_TABLE_MAIN, .link = link.index}))
    if (found.destination.length == 0 && found.via == route.via) return changes;
  replace_route(netlink, route);
  changes.push_back("add default route via " + to_string(wanted.gateway));
  return changes;
}

}  // namespace rayctl::net
