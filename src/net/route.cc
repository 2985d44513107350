#include "net/route.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <cerrno>

namespace rayctl::net {

namespace {

Message route_message(uint16_t type, uint16_t flags, const Route& route) {
  Message message(type, flags);
  rtmsg header{};
  header.rtm_family = static_cast<uint8_t>(route.destination.base.family);
  header.rtm_dst_len = static_cast<uint8_t>(route.destination.length);
  header.rtm_table = static_cast<uint8_t>(route.table < 256 ? route.table : RT_TABLE_UNSPEC);
  header.rtm_protocol = route.protocol;
  header.rtm_type = route.type;
  bool deleting = type == RTM_DELROUTE;
  bool direct = !route.via && route.type == RTN_UNICAST;
  header.rtm_scope = static_cast<uint8_t>(deleting ? RT_SCOPE_NOWHERE
                                          : direct ? RT_SCOPE_LINK
                                                   : RT_SCOPE_UNIVERSE);
  if (route.on_link) header.rtm_flags = RTNH_F_ONLINK;
  message.fixed(header).u32(RTA_TABLE, route.table);
  if (route.destination.length) message.address(RTA_DST, route.destination.base);
  if (route.via) message.address(RTA_GATEWAY, *route.via);
  if (route.link) message.u32(RTA_OIF, static_cast<uint32_t>(route.link));
  if (route.metric) message.u32(RTA_PRIORITY, route.metric);
  if (route.mtu) message.nest(RTA_METRICS, [&] { message.u32(RTAX_MTU, route.mtu); });
  return message;
}

std::optional<Route> parse_route(const Answer& answer, int family) {
  auto header = answer.fixed<rtmsg>();
  if (!header || answer.type != RTM_NEWROUTE || (header->rtm_flags & RTM_F_CLONED)) return std::nullopt;
  Attributes attributes = answer.attributes(sizeof(rtmsg));
  Route route;
  route.destination.base = attributes.address(RTA_DST).value_or(Address{family, {}});
  route.destination.length = header->rtm_dst_len;
  route.via = attributes.address(RTA_GATEWAY);
  route.link = static_cast<int>(attributes.u32(RTA_OIF).value_or(0));
  route.type = header->rtm_type;
  route.protocol = header->rtm_protocol;
  route.table = attributes.u32(RTA_TABLE).value_or(header->rtm_table);
  route.metric = attributes.u32(RTA_PRIORITY).value_or(0);
  route.mtu = attributes.nested(RTA_METRICS).u32(RTAX_MTU).value_or(0);
  route.on_link = header->rtm_flags & RTNH_F_ONLINK;
  return route;
}

}  // namespace

std::vector<LinkAddress> list_addresses(Netlink& netlink, int family, int link) {
  Message message(RTM_GETADDR, 0);
  ifaddrmsg header{};
  header.ifa_family = static_cast<uint8_t>(family);
  header.ifa_index = static_cast<uint32_t>(link);
  message.fixed(header);
  std::vector<LinkAddress> found;
  netlink.dump(message, "cannot list addresses", [&](const Answer& answer) {
    auto fixed = answer.fixed<ifaddrmsg>();
    if (!fixed || answer.type != RTM_NEWADDR) return;
    int index = static_cast<int>(fixed->ifa_index);
    if (link && index != link) return;
    Attributes attributes = answer.attributes(sizeof(ifaddrmsg));
    // On a point-to-point link IFA_ADDRESS is the far end; IFA_LOCAL is ours, and absent in IPv6.
    auto address = attributes.address(IFA_LOCAL);
    if (!address) address = attributes.address(IFA_ADDRESS);
    if (address) found.push_back({index, *address, fixed->ifa_prefixlen});
  });
  return found;
}

namespace {

Message address_message(uint16_t type, uint16_t flags, const LinkAddress& address) {
  Message message(type, flags);
  ifaddrmsg header{};
  header.ifa_family = static_cast<uint8_t>(address.address.family);
  header.ifa_prefixlen = static_cast<uint8_t>(address.length);
  header.ifa_index = static_cast<uint32_t>(address.link);
  message.fixed(header).address(IFA_LOCAL, address.address).address(IFA_ADDRESS, address.address);
  return message;
}

}  // namespace

void add_address(Netlink& netlink, const LinkAddress& address) {
  Message message = address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address);
  Outcome outcome = netlink.attempt(message);
  if (outcome.code && outcome.code != EEXIST)
    throw SysError(outcome.code, "cannot add address '{}/{}'", to_string(address.address), address.length);
}

void delete_address(Netlink& netlink, const LinkAddress& address) {
  Message message = address_message(RTM_DELADDR, 0, address);
  Outcome outcome = netlink.attempt(message);
  if (outcome.code && outcome.code != EADDRNOTAVAIL && outcome.code != ENODEV)
    throw SysError(outcome.code, "cannot delete address '{}/{}'", to_string(address.address), address.length);
}

std::vector<Route> list_routes(Netlink& netlink, int family, const RouteFilter& filter) {
  Message message(RTM_GETROUTE, 0);
  rtmsg header{};
  header.rtm_family = static_cast<uint8_t>(family);
  header.rtm_protocol = filter.protocol;
  message.fixed(header);
  // With strict checking the kernel filters; without it we do.
  if (filter.table) message.u32(RTA_TABLE, filter.table);
  if (filter.link) message.u32(RTA_OIF, static_cast<uint32_t>(filter.link));
  std::vector<Route> routes;
  auto keep = [&](const Answer& answer) {
    auto route = parse_route(answer, family);
    if (!route || (filter.table && route->table != filter.table) ||
        (filter.protocol && route->protocol != filter.protocol) ||
        (filter.link && route->link != filter.link))
      return;
    routes.push_back(*route);
  };
  try {
    netlink.dump(message, "cannot list routes", keep);
  } catch (const SysError& error) {
    if (error.code() != ENOENT) throw;  // a table without routes doesn't exist
    routes.clear();
  }
  return routes;
}

Message replace_route_message(const Route& route) {
  return route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

Message delete_route_message(const Route& route) {
  return route_message(RTM_DELROUTE, 0, route);
}

std::string describe(const Route& route) {
  std::string text = route.type == RTN_UNREACHABLE ? "unreachable " : "";
  text += to_string(route.destination);
  if (route.via) text += " via " + to_string(*route.via);
  return text;
}

void replace_route(Netlink& netlink, const Route& route) {
  Message message = replace_route_message(route);
  netlink.request(message, "cannot add route '{}'", describe(route));
}

void delete_route(Netlink& netlink, const Route& route) {
  Message message = delete_route_message(route);
  Outcome outcome = netlink.attempt(message);
  if (outcome.code && outcome.code != ESRCH && outcome.code != ENODEV)
    throw SysError(outcome.code, "cannot delete route '{}'", describe(route));
}

namespace {

Message lookup_message(const Address& address, uint32_t flags) {
  Message message(RTM_GETROUTE, 0);
  rtmsg header{};
  header.rtm_family = static_cast<uint8_t>(address.family);
  header.rtm_dst_len = static_cast<uint8_t>(address.size() * 8);
  header.rtm_flags = flags;
  message.fixed(header).address(RTA_DST, address);
  return message;
}

}  // namespace

std::optional<RouteChoice> route_to(Netlink& netlink, const Address& address) {
  Message message = lookup_message(address, 0);
  std::optional<RouteChoice> choice;
  Outcome outcome = netlink.query(message, [&](const Answer& answer) {
    auto header = answer.fixed<rtmsg>();
    if (!header || answer.type != RTM_NEWROUTE) return;
    Attributes attributes = answer.attributes(sizeof(rtmsg));
    RouteChoice found;
    found.type = header->rtm_type;
    found.link = static_cast<int>(attributes.u32(RTA_OIF).value_or(0));
    found.source = attributes.address(RTA_PREFSRC).value_or(Address{address.family, {}});
    found.via = attributes.address(RTA_GATEWAY);
    choice = found;
  });
  if (outcome.code == ENETUNREACH || outcome.code == EHOSTUNREACH || outcome.code == ENOENT)
    return std::nullopt;
  if (outcome.code) throw SysError(outcome.code, "cannot look up the route to '{}'", to_string(address));
  if (choice && choice->type != RTN_UNICAST && choice->type != RTN_LOCAL) return std::nullopt;
  return choice;
}

std::vector<RouteWay> ways_to(Netlink& netlink, const std::vector<Address>& addresses) {
  std::vector<Message> messages;
  messages.reserve(addresses.size());
  for (const Address& address : addresses) messages.push_back(lookup_message(address, RTM_F_FIB_MATCH));
  std::vector<RouteWay> ways(addresses.size());
  netlink.query_all(messages, [&](size_t index, const Answer& answer) {
    if (answer.type != RTM_NEWROUTE) return;
    Attributes attributes = answer.attributes(sizeof(rtmsg));
    ways[index].link = static_cast<int>(attributes.u32(RTA_OIF).value_or(0));
    ways[index].mtu = attributes.nested(RTA_METRICS).u32(RTAX_MTU).value_or(0);
  });
  return ways;
}

std::vector<Neighbour> list_neighbours(Netlink& netlink, int family, int link) {
  Message message(RTM_GETNEIGH, 0);
  ndmsg header{};
  header.ndm_family = static_cast<uint8_t>(family);
  // A dump of AF_BRIDGE takes the link from the header, the others from an attribute.
  if (family == AF_BRIDGE) header.ndm_ifindex = link;
  message.fixed(header);
  if (family != AF_BRIDGE) message.u32(NDA_IFINDEX, static_cast<uint32_t>(link));
  std::vector<Neighbour> found;
  netlink.dump(message, "cannot list neighbours", [&](const Answer& answer) {
    auto fixed = answer.fixed<ndmsg>();
    if (!fixed || answer.type != RTM_NEWNEIGH || fixed->ndm_ifindex != link) return;
    Attributes attributes = answer.attributes(sizeof(ndmsg));
    auto address = attributes.address(NDA_DST);
    auto mac = attributes.mac(NDA_LLADDR);
    if (!address) return;
    found.push_back({link, family, *address, mac.value_or(Mac{}), (fixed->ndm_state & NUD_PERMANENT) != 0});
  });
  return found;
}

namespace {

Message neighbour_message(uint16_t type, uint16_t flags, const Neighbour& neighbour) {
  Message message(type, flags);
  ndmsg header{};
  header.ndm_family = static_cast<uint8_t>(neighbour.family);
  header.ndm_ifindex = neighbour.link;
  header.ndm_state = NUD_PERMANENT;
  header.ndm_flags = neighbour.family == AF_BRIDGE ? NTF_SELF : 0;
  message.fixed(header).address(NDA_DST, neighbour.address).mac(NDA_LLADDR, neighbour.mac);
  return message;
}

}  // namespace

Message replace_neighbour_message(const Neighbour& neighbour) {
  return neighbour_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, neighbour);
}

Message delete_neighbour_message(const Neighbour& neighbour) {
  return neighbour_message(RTM_DELNEIGH, 0, neighbour);
}

}  // namespace rayctl::net
