// Each container's link lets in only frames with that container's own addresses: no other container of the
// node can speak in its name, whatever the rules allow that one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"

namespace rayctl::net {

struct GuardedPort {
  std::string link;  // the host's end
  Mac mac = {};      // the container's
  Address address = {};
  // The bridge's: what isn't sent to it goes nowhere, for ports that aren't isolated from each other.
  std::optional<Mac> bridge = {};
};

// Table `netdev rayctl`: a chain a link, at ingress. In one transaction; returns false when it stood already.
// The links must exist; a link that is deleted takes its chain along.
bool apply_port_guard(Netlink& netfilter, const std::vector<GuardedPort>& ports);
void remove_port_guard(Netlink& netfilter);  // absent is fine

}  // namespace rayctl::net
