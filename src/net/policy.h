// Who may reach whom: labels of containers and the connections between them, as data and as rules.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/nft.h"

namespace rayctl::net {

inline constexpr const char* public_label = "public";  // everything outside of the cluster

// One permission: containers of `from` may open connections to these ports of `to`. Answers need none. Both
// ends being labels, ICMP goes along, as Quilt had it.
struct Connect {
  std::string from, to;
  uint16_t first = 0, last = 0;           // of the destination
  std::optional<Protocol> protocol = {};  // tcp or udp; empty: both
  auto operator<=>(const Connect&) const = default;
};

enum class Egress { open, declared };  // declared: only what `connect … public` says

// Without one, every container of the pool is open to every other.
struct Policy {
  std::map<std::string, std::vector<Address>> labels = {};  // of all nodes' containers
  std::vector<Address> ray = {};  // Ray's own containers: workers talk to workers, all open to each other
  std::vector<Connect> connect = {};
  Egress egress = Egress::open;
  std::set<std::string> metadata = {};  // labels that may ask the cloud's metadata service
};

// What of a policy a node's table is made from; the labels that no rule names are left out.
struct PolicyRules {
  std::vector<NftSet> sets = {};
  std::vector<NftRule> inwards = {};    // of what goes to containers; the rest is dropped
  std::vector<NftRule> outwards = {};   // of what leaves the pool; the rest is dropped if egress is declared
  std::vector<NftRule> published = {};  // in a nat chain at prerouting
  std::vector<NftRule> hairpins =
      {};  // in a nat chain at postrouting: a container that asks for its own port
};

// Throws for a rule that names a label which isn't among the policy's: a typing error would close a door
// silently. `subnet` is this node's: what it publishes are its own containers.
PolicyRules policy_rules(const Policy& policy, const Subnet& subnet);

// "connect web db tcp 5432": for messages, and for `rayctl net rules`.
std::string describe(const Connect& connect);

// The labels that a container with the labels `own` may look up: these, and those it may connect to.
std::set<std::string> visible_labels(const Policy& policy, const std::set<std::string>& own);

}  // namespace rayctl::net
