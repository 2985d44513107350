// Who may reach whom, as the kernel has it.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"

namespace rayctl::net {

// One permission or refusal, in the order in which the kernel tries them. Ends are labels, "ray" (Ray's own
// containers), "machines", "containers" (all of this node), "public".
struct Reach {
  std::string from, to;
  std::string what;  // "tcp 5432", "icmp", "all", "answers"
  bool allowed = false;
  bool operator==(const Reach&) const = default;
};

// Pure: what a rule in nft's words does; with the condition of the rule that jumped to its chain
// before it. Empty for one that concerns nobody.
std::vector<Reach> parse_reach(const std::string& rule, const std::string& bridge);

struct ReachTable {
  std::vector<Reach> rules;
  std::vector<std::pair<std::string, std::vector<Address>>> members;  // of the ends that are sets
};
// Throws when the node's table isn't there.
ReachTable read_reach(Netlink& netfilter, const std::string& bridge);

}  // namespace rayctl::net
