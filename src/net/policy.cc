#include "net/policy.h"

#include <algorithm>

#include "base/error.h"

namespace rayctl::net {

namespace {

constexpr const char* ray_set = "ray";

std::string set_name(const std::string& label) {
  return "label-" + label;
}

std::vector<Address> sorted(std::vector<Address> addresses) {
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

std::vector<Protocol> protocols(const Connect& connect) {
  if (connect.protocol) return {*connect.protocol};
  return {Protocol::tcp, Protocol::udp};
}

NftRule rule(std::string comment, std::vector<Expression> expressions) {
  return {std::move(comment), std::move(expressions)};
}

std::vector<Address> own_members(const std::vector<Address>& members, const Subnet& subnet) {
  std::vector<Address> own;
  for (const Address& member : sorted(members))
    if (contains(subnet, member)) own.push_back(member);
  return own;
}

// A connection of the outside comes to the node; its own containers of that label take turns. One of them may
// ask the node for that port and get itself: then the answer must come back through the node, or the
// container would see packets from its own address.
void publish(PolicyRules& rules, const Connect& c, const std::vector<Address>& members,
             const MatchSet& to_label) {
  for (Protocol protocol : protocols(c)) {
    MatchPort port{protocol, c.first, c.last};
    uint32_t left = static_cast<uint32_t>(members.size());
    for (const Address& member : members) {
      std::vector<Expression> what = {MatchLocal{}, port};
      if (left > 1) what.push_back(MatchShare{left});
      --left;
      what.push_back(Dnat{member});
      rules.published.push_back(rule(describe(c), what));
      Subnet itself{member, 32};
      rules.hairpins.push_back(
          rule("a container that asks for its own published port",
               {MatchSubnet{Side::source, itself}, MatchSubnet{Side::destination, itself}, port, MatchDnat{},
                Masquerade{}}));
    }
    if (!members.empty())
      rules.inwards.push_back(rule(describe(c), {to_label, port, MatchDnat{}, Verdict::accept}));
  }
}

}  // namespace

std::string describe(const Connect& connect) {
  std::string text = fmt::format("connect {} {}", connect.from, connect.to);
  if (connect.protocol) text += *connect.protocol == Protocol::tcp ? " tcp" : " udp";
  text += fmt::format(" {}", connect.first);
  if (connect.last > connect.first) text += fmt::format("-{}", connect.last);
  return text;
}

PolicyRules policy_rules(const Policy& policy, const Subnet& subnet) {
  PolicyRules rules;
  std::set<std::string> used;
  auto use = [&](const std::string& label, const Connect& connect) {
    if (!policy.labels.contains(label))
      throw Error("cannot apply '{}': there is no label '{}'", describe(connect), label);
    used.insert(label);
    return set_name(label);
  };
  auto towards = [&](Side side, const std::string& set) { return MatchSet{side, set, AF_INET}; };

  rules.inwards.push_back(
      rule("Ray's own containers",
           {towards(Side::source, ray_set), towards(Side::destination, ray_set), Verdict::accept}));
  std::vector<Connect> connects = policy.connect;
  std::sort(connects.begin(), connects.end());
  connects.erase(std::unique(connects.begin(), connects.end()), connects.end());
  std::set<std::pair<std::string, std::string>> pinged;
  for (const Connect& c : connects) {
    if (c.first == 0 || c.last < c.first)
      throw Error("cannot apply '{}': ports are from 1 to 65535, the lower one first", describe(c));
    if (c.from == public_label && c.to == public_label)
      throw Error("cannot apply '{}': one end must be a label", describe(c));
    if (c.from == public_label) {
      std::string to = use(c.to, c);
      publish(rules, c, own_members(policy.labels.at(c.to), subnet), towards(Side::destination, to));
      continue;
    }
    std::string from = use(c.from, c);
    if (c.to == public_label) {
      for (Protocol protocol : protocols(c))
        rules.outwards.push_back(rule(describe(c), {towards(Side::source, from),
                                                    MatchPort{protocol, c.first, c.last}, Verdict::accept}));
      continue;
    }
    std::string to = use(c.to, c);
    for (Protocol protocol : protocols(c))
      rules.inwards.push_back(rule(describe(c), {towards(Side::source, from), towards(Side::destination, to),
                                                 MatchPort{protocol, c.first, c.last}, Verdict::accept}));
    if (pinged.insert({c.from, c.to}).second)
      rules.inwards.push_back(rule(fmt::format("connect {} {} icmp", c.from, c.to),
                                   {towards(Side::source, from), towards(Side::destination, to),
                                    MatchProtocol{Protocol::icmp}, Verdict::accept}));
  }
  rules.sets.push_back({ray_set, AF_INET, sorted(policy.ray)});
  for (const std::string& label : used)
    rules.sets.push_back({set_name(label), AF_INET, sorted(policy.labels.at(label))});
  if (!policy.metadata.empty()) {
    std::vector<Address> allowed;
    for (const std::string& label : policy.metadata)
      if (auto at = policy.labels.find(label); at != policy.labels.end())
        allowed.insert(allowed.end(), at->second.begin(), at->second.end());
    rules.sets.push_back({"metadata", AF_INET, sorted(allowed)});
  }
  return rules;
}

std::set<std::string> visible_labels(const Policy& policy, const std::set<std::string>& own) {
  std::set<std::string> visible = own;
  for (const Connect& connect : policy.connect)
    if (own.contains(connect.from) && connect.to != public_label) visible.insert(connect.to);
  return visible;
}

}  // namespace rayctl::net
