// Which addresses a cluster, its nodes and their containers have: arithmetic, fixed when the cluster is made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"

namespace rayctl::net {

// What the creation of a cluster fixes for its life. Node i owns the i-th /node_prefix of the pool:
// base = its VXLAN end, base+1 = the bridge (the containers' gateway), base+2… = containers.
struct AddressPlan {
  Subnet pool;
  int node_prefix = 26;
};

// A network that this host uses already, and how to name it in an error: "10.0.0.0/8 dev eth0".
struct HostNetwork {
  Subnet subnet;
  std::string description;
};

// Routes of all tables, addresses and name servers of the current network namespace, without default routes
// (and 0.0.0.0/1, 128.0.0.0/1, which stand for one).
enum class OwnNetworks { leave_out, include };  // rayctl's
std::vector<HostNetwork> host_networks(OwnNetworks own = OwnNetworks::leave_out);

const std::vector<Subnet>& default_pools();  // tried in this order

// With `pool`: that one, an error when it overlaps a host network (names both) or can't hold two nodes.
// Without: the first of default_pools() that overlaps nothing.
AddressPlan choose_plan(const std::optional<Subnet>& pool, const std::vector<HostNetwork>& used,
                        int node_prefix = 26);

// A node that joins checks the cluster's pool against its own networks; throws, naming both.
void check_pool(const Subnet& pool, const std::vector<HostNetwork>& used);

uint32_t node_limit(const AddressPlan& plan);
uint32_t container_limit(const Subnet& node);  // 61 for a /26

Subnet node_subnet(const AddressPlan& plan, uint32_t index);   // index 0 = head; error names the limit
Address vtep_address(const Subnet& node);                      // base
Address gateway_address(const Subnet& node);                   // base + 1
Address container_address(const Subnet& node, uint32_t slot);  // base + 2 + slot; error names the limit

// Made from the IP, so that an address that is used again never meets a stale ARP entry.
Mac container_mac(const Address& address);  // 02:72:<IPv4>
Mac vtep_mac(const Subnet& node);           // 02:76:<IPv4 base>: the same after a reboot

// A /30 for one build network, from small blocks that overlap no host network; `taken` = the /30s in use.
Subnet choose_build_subnet(const std::vector<HostNetwork>& used, const std::vector<Subnet>& taken);

}  // namespace rayctl::net
