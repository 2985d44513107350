// host_networks() of address_plan.h: the part that asks the kernel.
#include <linux/rtnetlink.h>

#include <map>

#include "net/address_plan.h"
#include "net/link.h"
#include "net/names.h"
#include "net/resolv_conf.h"
#include "net/route.h"

namespace rayctl::net {

std::vector<HostNetwork> host_networks(OwnNetworks own) {
  Netlink netlink(NETLINK_ROUTE);
  std::map<int, std::string> names;
  for (const Link& link : list_links(netlink)) names[link.index] = link.name;
  auto skip = [&](int link) { return own == OwnNetworks::leave_out && is_our_link(names[link]); };
  auto on = [&](int link) { return link ? " dev " + names[link] : std::string(); };
  std::vector<HostNetwork> networks;
  for (const Route& route : list_routes(netlink, AF_INET)) {
    bool ours = route.protocol == route_protocol || is_our_link(names[route.link]);
    if (route.table == RT_TABLE_LOCAL || route.destination.length <= 1) continue;
    if (route.type == RTN_MULTICAST || route.type == RTN_BROADCAST) continue;
    if (ours && own == OwnNetworks::leave_out) continue;
    networks.push_back({route.destination, "route " + describe(route) + on(route.link)});
  }
  for (const LinkAddress& address : list_addresses(netlink, AF_INET)) {
    if (skip(address.link)) continue;
    networks.push_back(
        {subnet_of(address.address, address.length),
         fmt::format("address {}/{}{}", to_string(address.address), address.length, on(address.link))});
  }
  for (const Upstream& server : read_upstreams("/etc/resolv.conf"))
    if (server.address.is_v4())
      networks.push_back({{server.address, 32}, "name server " + to_string(server.address)});
  return networks;
}

}  // namespace rayctl::net
