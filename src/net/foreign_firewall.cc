#include "net/foreign_firewall.h"

#include <linux/netfilter.h>

#include <algorithm>
#include <set>

#include "net/names.h"

namespace rayctl::net {

namespace {

bool is_ours(const std::string& table) {
  return table == node_table_name || table.starts_with(build_table_prefix);
}

bool sees_ipv4(uint8_t family) {
  return family == NFPROTO_IPV4 || family == NFPROTO_INET;
}

std::string name_of(const FoundChain& chain) {
  return fmt::format("{} {} {}", chain.family == NFPROTO_IPV4 ? "ip" : "inet", chain.table, chain.name);
}

// Where a rule survives the owner's own reload: Docker leaves this chain to its users.
const FoundChain& place_for(const FoundChain& base, const std::vector<FoundChain>& chains) {
  if (base.hook == Hook::forward)
    for (const FoundChain& chain : chains)
      if (chain.family == base.family && chain.table == base.table && chain.name == "DOCKER-USER")
        return chain;
  return base;
}

std::vector<FoundRule> foreign_rules(Netlink& netfilter, const std::vector<FoundChain>& chains) {
  std::vector<FoundRule> rules;
  std::set<std::pair<uint8_t, std::string>> seen;
  for (const FoundChain& chain : chains) {
    if (!sees_ipv4(chain.family) || is_ours(chain.table)) continue;
    if (!seen.insert({chain.family, chain.table}).second) continue;
    auto more = list_rules(netfilter, chain.family, chain.table);
    rules.insert(rules.end(), more.begin(), more.end());
  }
  return rules;
}

}  // namespace

std::vector<Permit> missing_permits(const std::vector<FoundChain>& chains,
                                    const std::vector<FoundRule>& rules, Hook hook,
                                    const std::vector<NftRule>& permits) {
  std::vector<Permit> missing;
  for (const FoundChain& base : chains) {
    if (!sees_ipv4(base.family) || is_ours(base.table) || base.hook != hook) continue;
    const FoundRule* last = nullptr;
    for (const FoundRule& rule : rules)
      if (rule.family == base.family && rule.table == base.table && rule.chain == base.name) last = &rule;
    if (!base.drops && !(last && last->rejects_all)) continue;
    const FoundChain& place = place_for(base, chains);
    // What is there must stand above everything else of the chain; a rule that was pushed down is put up
    // again.
    std::vector<std::string> head;
    for (const FoundRule& rule : rules)
      if (rule.family == place.family && rule.table == place.table && rule.chain == place.name)
        head.push_back(rule.comment);
    size_t ours = 0;
    while (ours < head.size() && head[ours].starts_with("rayctl:")) ++ours;
    head.resize(ours);
    for (const NftRule& permit : permits)
      if (std::find(head.begin(), head.end(), rule_tag(permit)) == head.end())
        missing.push_back({place, permit});
  }
  return missing;
}

ForeignOutcome permit_forwarding(Netlink& netfilter, const std::vector<NftRule>& forward,
                                 const std::vector<NftRule>& input) {
  ForeignOutcome outcome;
  std::vector<FoundChain> chains = list_chains(netfilter);
  std::vector<FoundRule> rules = foreign_rules(netfilter, chains);
  auto missing = missing_permits(chains, rules, Hook::forward, forward);
  auto more = missing_permits(chains, rules, Hook::input, input);
  missing.insert(missing.end(), more.begin(), more.end());
  for (const Permit& permit : missing) {
    for (const FoundRule& old : rules)  // pushed down by someone: it would stand there twice
      if (old.family == permit.chain.family && old.table == permit.chain.table &&
          old.chain == permit.chain.name && old.comment == rule_tag(permit.rule))
        delete_rule(netfilter, old);
    Outcome result = insert_rule(netfilter, permit.chain, permit.rule);
    if (result.code == 0) {
      outcome.changes.push_back(
          fmt::format("permit '{}' in the host's chain '{}'", to_text(permit.rule), name_of(permit.chain)));
    } else {
      outcome.problems.push_back(
          fmt::format("the host's firewall chain '{}' drops traffic of containers and refuses a rule ({}); "
                      "let through: {}",
                      name_of(permit.chain), SysError::describe(result.code), to_text(permit.rule)));
    }
  }
  if (legacy_forward_drops() && !forward.empty())
    outcome.problems.push_back(
        "the host's iptables-legacy drops forwarded traffic; let it through with: "
        "iptables-legacy -I FORWARD -i 'rayctl+' -j ACCEPT; iptables-legacy -I FORWARD -o 'rayctl+' -j "
        "ACCEPT");
  return outcome;
}

void withdraw_permits_if(Netlink& netfilter, const std::function<bool(const std::string& comment)>& chosen) {
  for (const FoundRule& rule : foreign_rules(netfilter, list_chains(netfilter)))
    if (rule.comment.starts_with("rayctl:") && chosen(rule.comment)) delete_rule(netfilter, rule);
}

void withdraw_permits(Netlink& netfilter, const std::vector<NftRule>& permits) {
  std::set<std::string> tags;
  for (const NftRule& permit : permits) tags.insert(rule_tag(permit));
  withdraw_permits_if(netfilter, [&](const std::string& comment) { return tags.contains(comment); });
}

}  // namespace rayctl::net
