// Hosts whose own firewall drops what is forwarded (Docker, ufw, firewalld, cloud images): an accept in our
// table can't undo another table's drop, so a tagged rule goes to the top of that chain.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "net/netlink.h"
#include "net/nft.h"

namespace rayctl::net {

// A rule that is to stand at the top of a foreign chain.
struct Permit {
  FoundChain chain;
  NftRule rule;
};

// Pure: which rules are missing where. `rules` are all rules of the foreign tables. A base chain on `hook`
// that drops by policy or ends with a rejection gets `permits`; Docker's DOCKER-USER instead of its FORWARD.
std::vector<Permit> missing_permits(const std::vector<FoundChain>& chains,
                                    const std::vector<FoundRule>& rules, Hook hook,
                                    const std::vector<NftRule>& permits);

struct ForeignOutcome {
  std::vector<std::string> changes = {};   // "permit rayctl0 in chain 'ip filter FORWARD'"
  std::vector<std::string> problems = {};  // chains that refuse, with the line to type
};

// Makes the permits stand; also looks at xtables-legacy, which can only be reported.
ForeignOutcome permit_forwarding(Netlink& netfilter, const std::vector<NftRule>& forward,
                                 const std::vector<NftRule>& input);

// Removes every rule tagged as one of these, from all foreign tables.
void withdraw_permits(Netlink& netfilter, const std::vector<NftRule>& permits);

// The same by their comments ("rayctl:<hash> <purpose>").
void withdraw_permits_if(Netlink& netfilter, const std::function<bool(const std::string& comment)>& chosen);

// xtables-legacy's `filter FORWARD` drops by policy (empty: no such table, or it accepts).
bool legacy_forward_drops();

}  // namespace rayctl::net
