// What a cluster's firewall lets in, as rules that every cloud can be brought to.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "cloud/provider.h"

namespace rayctl::cloud {

// One thing that is let in. Ordered, so that sets of them can be compared.
struct FirewallRule {
  std::string protocol = {};  // "all" or "tcp" (or another one that somebody else made)
  int first = 0, last = 0;    // 0 with "all"
  std::string source = {};    // a CIDR, or "self": the cluster's own machines
  auto tie() const { return std::tie(protocol, first, last, source); }
  bool operator<(const FirewallRule& other) const { return tie() < other.tie(); }
  bool operator==(const FirewallRule& other) const { return tie() == other.tie(); }
};

// "203.0.113.7" -> "203.0.113.7/32", "10.1.2.3/8" -> "10.0.0.0/8", IPv6 likewise in its shortest form.
// ProviderError (invalid) for anything else.
std::string normal_cidr(const std::string& text);
bool is_ipv6_cidr(const std::string& cidr);

// Sorted, without doubles.
std::vector<FirewallRule> firewall_rules(const Firewall& firewall);

struct FirewallChange {
  std::vector<FirewallRule> add, remove;
};
FirewallChange firewall_change(const std::vector<FirewallRule>& wanted,
                               const std::vector<FirewallRule>& found);

}  // namespace rayctl::cloud
