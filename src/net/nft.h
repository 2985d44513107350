// nftables as data: a table, its sets, chains and rules, and how they are put into the kernel in one piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"

namespace rayctl::net {

enum class Side { source, destination };
enum class Way { in, out };
enum class Match { equal, different };
enum class Protocol : uint8_t { icmp = 1, tcp = 6, udp = 17 };

// One condition or action of a rule; conditions are tested in order, the action is last.
struct MatchLink {  // iifname, oifname
  Way way;
  std::string name;
  Match match = Match::equal;
};
struct MatchFamily {  // meta nfproto
  int family;
};
struct MatchSubnet {  // ip saddr …, with the family tested first
  Side side;
  Subnet subnet;
  Match match = Match::equal;
};
struct MatchSet {  // ip saddr @name, with the family tested first
  Side side;
  std::string set;
  int family;
  Match match = Match::equal;
};
struct MatchPort {  // udp dport …
  Protocol protocol;
  uint16_t port;
  uint16_t last = 0;  // of a range that begins with `port`; 0: that one alone
};
struct MatchProtocol {  // meta l4proto
  Protocol protocol;
};
struct MatchLocal {};  // fib daddr type local: one of this machine's addresses
struct Dnat {          // to this IPv4 address, the port stays; in nat chains at prerouting
  Address to;
};
struct MatchSyn {};  // tcp flags & (syn|rst) == syn
struct MatchState {
  uint32_t bits;  // of nft's ct state
};
struct MatchReply {};  // ct direction reply
struct MatchDnat {};   // ct status dnat
struct MatchShare {    // numgen inc mod N 0: every Nth that asks
  uint32_t of;
};
struct ClampMss {};                         // tcp option maxseg size set rt mtu
struct Masquerade {};                       // fully-random
struct NoTrack {};                          // no connection tracking, and so no NAT; in raw chains
enum class Verdict { accept, drop, stop };  // stop = return
struct Jump {  // to a chain without a hook, and back when none of its rules ends the way
  std::string chain;
};
using Expression = std::variant<MatchLink, MatchFamily, MatchSubnet, MatchSet, MatchPort, MatchProtocol,
                                MatchLocal, MatchSyn, MatchState, MatchReply, MatchDnat, MatchShare, ClampMss,
                                Masquerade, Dnat, NoTrack, Verdict, Jump>;

constexpr uint32_t state_established = 2, state_related = 4, state_new = 8;

struct NftRule {
  std::string comment;  // what it is for; shown by `nft list ruleset`
  std::vector<Expression> expressions;
};

enum class Hook : uint32_t { prerouting = 0, input = 1, forward = 2, output = 3, postrouting = 4 };
enum class ChainType { filter, nat };

struct NftChain {
  std::string name;
  ChainType type = ChainType::filter;
  std::optional<Hook> hook = {};  // empty: rules jump here
  int priority = 0;
  std::vector<NftRule> rules = {};
};

// Addresses of one family.
struct NftSet {
  std::string name;
  int family = AF_INET;
  std::vector<Address> elements = {};  // sorted
};

struct NftTable {
  std::string name;  // in family inet
  std::vector<NftSet> sets = {};
  std::vector<NftChain> chains = {};
};

std::string to_text(const NftRule& rule);    // as nft writes it, without the comment
std::string to_text(const NftTable& table);  // for golden files and `nft -f`

// "rayctl:<hash of the rule's text> <comment>": what makes a rule recognisable in the kernel.
std::string rule_tag(const NftRule& rule);

// Makes the kernel's table equal to `table`, in one transaction. Returns false when it was so already: same
// chains, rules (by tag, in order) and set elements.
bool apply_table(Netlink& netfilter, const NftTable& table);
// The rules of a chain of ours as the kernel has them, in their order, written like to_text() does; what
// rayctl never makes is shown as "?NAME". And a set's elements.
std::vector<std::string> kernel_rules(Netlink& netfilter, const std::string& table, const std::string& chain);
std::vector<std::string> list_sets(Netlink& netfilter, const std::string& table);  // names, sorted
std::vector<Address> kernel_set(Netlink& netfilter, const std::string& table, const std::string& set);
bool delete_table(Netlink& netfilter, const std::string& name);  // false when there was none
std::vector<std::string> list_tables(Netlink& netfilter);        // names in family inet

// --- rules in the tables of others (foreign_firewall.cc) ---

struct FoundChain {
  uint8_t family = 0;  // NFPROTO_IPV4, NFPROTO_INET
  std::string table, name;
  std::optional<Hook> hook = {};  // empty: not a base chain
  bool drops = false;             // policy drop
};
struct FoundRule {
  uint8_t family = 0;
  std::string table, chain;
  uint64_t handle = 0;
  std::string comment = {};  // ours and those of `nft … comment`
  bool rejects_all = false;  // no condition, and drop or reject
};
std::vector<FoundChain> list_chains(Netlink& netfilter);
std::vector<FoundRule> list_rules(Netlink& netfilter, uint8_t family, const std::string& table);
Outcome insert_rule(Netlink& netfilter, const FoundChain& chain, const NftRule& rule);  // at the top
void delete_rule(Netlink& netfilter, const FoundRule& rule);                            // gone already: fine

}  // namespace rayctl::net
