// The part of a container's network that is made inside its namespace.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"
#include "net/netns.h"

namespace rayctl::net {

// eth0 as it should be.
struct InsideLink {
  std::string name = "eth0";
  Address address = {};
  int prefix_length = 32;  // alone: everything, the neighbour too, is reached by the gateway
  Address gateway = {};
  Mac mac = {};
  uint32_t mtu = 1500;
  // Of IPv4: connect() fails at once there, where the firewall's silence would cost a program its timeouts.
  std::vector<Subnet> unreachable = {};
};

// IPv6 off for links to come, and ICMP redirects ignored; before eth0 is made. lo keeps ::1, which programs
// bind.
void prepare_inside(const Netns& netns);

// MAC, MTU, address and routes of a link that exists, and lo up. Returns what was changed.
std::vector<std::string> configure_inside(const Netns& netns, const InsideLink& wanted);

bool has_link_inside(const Netns& netns, const std::string& name);
void delete_link_inside(const Netns& netns, const std::string& name);

}  // namespace rayctl::net
