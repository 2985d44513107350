#include "net/policy_read.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "net/firewall.h"
#include "net/names.h"
#include "net/nft.h"

namespace rayctl::net {

namespace {

constexpr std::string_view label_prefix = "@label-";

std::string end_of(std::string_view set) {
  if (set.starts_with(label_prefix)) return std::string(set.substr(label_prefix.size()));
  return std::string(set.starts_with("@") ? set.substr(1) : set);
}

}  // namespace

std::vector<Reach> parse_reach(const std::string& rule, const std::string& bridge) {
  std::vector<std::string> words = split(rule, ' ');
  auto after = [&](std::initializer_list<std::string_view> phrase) -> std::string {
    auto at = std::search(words.begin(), words.end(), phrase.begin(), phrase.end());
    if (at == words.end()) return "";
    at += static_cast<long>(phrase.size());
    return at == words.end() ? "" : *at;
  };
  std::string quoted = "\"" + bridge + "\"";
  bool inwards = after({"oifname"}) == quoted, outwards = after({"iifname"}) == quoted;
  std::string source = after({"ip", "saddr"}), destination = after({"ip", "daddr"}),
              dnat = after({"dnat", "ip", "to"});
  Reach reach;
  reach.allowed = words.back() == "accept" || !dnat.empty();
  if (!reach.allowed && words.back() != "drop") return {};
  for (const char* protocol : {"tcp", "udp"})
    if (std::string port = after({protocol, "dport"}); !port.empty())
      reach.what = std::string(protocol) + " " + port;
  if (after({"meta", "l4proto"}) == "icmp") reach.what = "icmp";
  if (!after({"ct", "state"}).empty()) reach.what = "answers";
  bool published = after({"ct", "status"}) == "dnat";
  if (published && reach.what.empty()) reach.what = "published ports";
  if (reach.what.empty()) reach.what = "all";
  if (!dnat.empty()) {
    reach.from = "public";
    reach.to = dnat;
  } else if (inwards) {
    reach.from = source.empty() ? (published ? "public" : "anyone") : end_of(source);
    reach.to = destination.empty() ? "containers" : end_of(destination);
  } else if (outwards) {
    reach.from = source.empty() ? "containers" : end_of(source);
    reach.to = !after({"oifname"}).empty()       ? "other nodes"
               : source.empty() && reach.allowed ? "anyone"
                                                 : "public";
  } else if (!after({"iifname"}).empty()) {
    reach.from = "other nodes";
    reach.to = "containers";
  } else {
    return {};
  }
  return {reach};
}

ReachTable read_reach(Netlink& netfilter, const std::string& bridge) {
  std::string table(node_table_name);
  ReachTable result;
  std::set<std::string> chains;
  for (const FoundChain& chain : list_chains(netfilter))
    if (chain.table == table) chains.insert(chain.name);
  if (!chains.contains("passing"))
    throw Error("cannot read the rules: there is no table 'inet {}' (is the node running?)", table);
  // A chain and the condition under which its hook's chain jumps to it.
  std::pair<std::string, std::string> places[] = {
      {"published", ""},
      {"passing", ""},
      {std::string(to_containers_chain), fmt::format("oifname \"{}\" ", bridge)},
      {std::string(from_containers_chain), fmt::format("iifname \"{}\" ", bridge)}};
  for (const auto& [chain, condition] : places)
    if (chains.contains(chain))
      for (const std::string& rule : kernel_rules(netfilter, table, chain))
        for (Reach& reach : parse_reach(condition + rule, bridge)) result.rules.push_back(std::move(reach));
  for (const std::string& set : list_sets(netfilter, table))
    if (!set.starts_with("peers"))
      result.members.push_back({end_of("@" + set), kernel_set(netfilter, table, set)});
  return result;
}

}  // namespace rayctl::net
