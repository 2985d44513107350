// Addresses, routes, neighbours and forwarding entries by rtnetlink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"

namespace rayctl::net {

// RTA_PROTOCOL of every route that rayctl makes: others can tell, and so can we.
constexpr uint8_t route_protocol = 0x52;

struct LinkAddress {
  int link = 0;
  Address address = {};
  int length = 32;
  bool operator==(const LinkAddress&) const = default;
};

std::vector<LinkAddress> list_addresses(Netlink& netlink, int family, int link = 0);  // 0 = all links
void add_address(Netlink& netlink, const LinkAddress& address);                       // there already: fine
void delete_address(Netlink& netlink, const LinkAddress& address);                    // not there: fine

struct Route {
  Subnet destination = {};
  std::optional<Address> via = {};
  int link = 0;
  uint8_t type = 1;  // RTN_UNICAST, RTN_UNREACHABLE, …
  uint8_t protocol = route_protocol;
  uint32_t table = 254;  // RT_TABLE_MAIN
  uint32_t metric = 0;
  uint32_t mtu = 0;      // of the way, as a metric; 0: the link's
  bool on_link = false;  // the gateway is a neighbour though no route says so
  bool operator==(const Route&) const = default;
};

struct RouteFilter {
  uint32_t table = 0;    // 0 = all
  uint8_t protocol = 0;  // 0 = all
  int link = 0;          // 0 = all
};
std::vector<Route> list_routes(Netlink& netlink, int family, const RouteFilter& filter = {});
Message replace_route_message(const Route& route);
Message delete_route_message(const Route& route);
void replace_route(Netlink& netlink, const Route& route);
void delete_route(Netlink& netlink, const Route& route);  // not there: fine
std::string describe(const Route& route);

// The kernel's choice for packets to `address`; empty when it is unreachable.
struct RouteChoice {
  int link = 0;
  Address source = {};
  std::optional<Address> via = {};
  uint8_t type = 1;
};
std::optional<RouteChoice> route_to(Netlink& netlink, const Address& address);

// The route to an address: its link, 0 when there is none, and the MTU that it was given, 0 when it was given
// none (then the link's counts). What path MTU discovery has learned for a while is left out.
struct RouteWay {
  int link = 0;
  uint32_t mtu = 0;
};
std::vector<RouteWay> ways_to(Netlink& netlink, const std::vector<Address>& addresses);  // one each, in order

// A neighbour entry (IPv4/IPv6 address -> MAC), or with family AF_BRIDGE a forwarding entry of a VXLAN link
// (MAC -> underlay address).
struct Neighbour {
  int link = 0;
  int family = AF_INET;
  Address address = {};
  Mac mac = {};
  bool permanent = false;
};
std::vector<Neighbour> list_neighbours(Netlink& netlink, int family, int link);
Message replace_neighbour_message(const Neighbour& neighbour);  // permanent
Message delete_neighbour_message(const Neighbour& neighbour);

}  // namespace rayctl::net
