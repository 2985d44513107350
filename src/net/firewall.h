// The rules that a node and a build step need, as pure functions to a table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/nft.h"
#include "net/overlay.h"
#include "net/policy.h"

namespace rayctl::net {

// What the table `inet rayctl` of a node is made from.
struct NodeRules {
  std::string bridge;
  OverlayMode mode = OverlayMode::vxlan;
  std::string overlay_link = {};  // unless the mode is none
  Subnet pool;
  Subnet subnet;  // this node's
  uint16_t port = default_vxlan_port;
  std::vector<Address> peers = {};     // VXLAN: underlay addresses that may send its packets
  std::vector<Address> machines = {};  // the nodes' own addresses in the overlay: they may reach containers
  std::vector<Subnet> relayed = {};    // of nodes behind NAT, which reach each other through this one
  bool block_metadata = true;
  std::optional<Policy> policy = {};  // empty: containers of the pool are open to each other
};
NftTable node_table(const NodeRules& rules);
// Where a table with a policy decides about what is forwarded: to this node's containers, and from them.
inline constexpr std::string_view to_containers_chain = "to-containers",
                                  from_containers_chain = "from-containers";

// A build step's: NAT egress for its /30, nothing inwards, no metadata service.
NftTable build_table(const std::string& name, const std::string& link, const Subnet& subnet);

// Where the clouds keep credentials and user-data: link-local addresses and the providers' others.
const std::vector<Subnet>& metadata_subnets();
const std::vector<std::string>& metadata_names();  // and what it is looked up by

// The rules that a chain which drops needs at its top, so that our traffic gets through.
// `relaying`: the overlay's link when this node passes on what nodes behind NAT send each other.
std::vector<NftRule> forward_permits(const std::string& bridge, const Subnet& pool,
                                     const std::string& relaying = "");
// Also echoes from the other nodes through the overlay's link: by these they see whether this one lives.
std::vector<NftRule> input_permits(OverlayMode mode, uint16_t port, const std::string& overlay_link);

}  // namespace rayctl::net
