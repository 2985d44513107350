// The rules that a node and a build step need, as pure functions to a table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/nft.h"

namespace rayctl::net {

// What the table `inet rayctl` of a node is made from.
struct NodeRules {
  std::string bridge;
  std::optional<std::string> overlay_link = {};  // empty: a node without an overlay
  Subnet pool;
  Subnet subnet;  // this node's
  uint16_t vxlan_port = 8472;
  std::vector<Address> peers = {};  // underlay addresses that may send VXLAN packets
  bool block_metadata = true;
};
NftTable node_table(const NodeRules& rules);

// A build step's: NAT egress for its /30, nothing inwards, no metadata service.
NftTable build_table(const std::string& name, const std::string& link, const Subnet& subnet);

// Where the clouds keep credentials and user-data: link-local addresses and the providers' others.
const std::vector<Subnet>& metadata_subnets();
const std::vector<std::string>& metadata_names();  // and what it is looked up by

// The rules that a chain which drops needs at its top, so that our traffic gets through.
std::vector<NftRule> forward_permits(const std::string& bridge, const Subnet& pool);
std::vector<NftRule> input_permits(uint16_t vxlan_port);

}  // namespace rayctl::net
