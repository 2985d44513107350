#include "net/firewall.h"

#include <algorithm>

#include "net/names.h"

namespace rayctl::net {

namespace {

constexpr int raw = -300, destination_nat = -100, filter = 0, source_nat = 100, after_nat = 150;

NftRule from(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::in, link});
  return {std::move(comment), std::move(rest)};
}

NftRule to(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::out, link});
  return {std::move(comment), std::move(rest)};
}

// What containers may not send, whatever happens to it later: before connection tracking and NAT.
NftChain sent_by_containers(const Subnet& subnet, const std::optional<Subnet>& pool, bool block_metadata,
                            bool some_allowed = false) {
  NftChain chain{"sent-by-containers"};
  chain.rules.push_back(
      {"forged source", {MatchSubnet{Side::source, subnet, Match::different}, Verdict::drop}});
  if (pool) chain.rules.push_back({"inside", {MatchSubnet{Side::destination, *pool}, Verdict::accept}});
  chain.rules.push_back({"containers have no IPv6", {MatchFamily{AF_INET6}, Verdict::drop}});
  if (block_metadata)
    for (const Subnet& metadata : metadata_subnets()) {
      if (!metadata.base.is_v4()) continue;
      NftRule rule{"metadata service", {MatchSubnet{Side::destination, metadata}}};
      if (some_allowed)
        rule.expressions.emplace_back(MatchSet{Side::source, "metadata", AF_INET, Match::different});
      rule.expressions.emplace_back(Verdict::drop);
      chain.rules.push_back(std::move(rule));
    }
  chain.rules.push_back({"outside", {Verdict::accept}});
  return chain;
}

const Subnet& multicast() {
  static const Subnet subnet = parse_subnet("224.0.0.0/4");
  return subnet;
}

// Towards containers: answers, and what published ports let in.
void guard_inwards(NftChain& chain, const std::string& link) {
  chain.rules.push_back(
      to(link, {MatchState{state_established | state_related}, Verdict::accept}, "answers"));
  chain.rules.push_back(to(link, {MatchDnat{}, Verdict::accept}, "published ports"));
  chain.rules.push_back(to(link, {Verdict::drop}, "containers are closed to other networks"));
}

// `passing` begins with it: most packets begin no connection, and are asked once.
NftChain clamp(NftChain& passing, const std::string& link) {
  NftChain segments{"segments"};
  segments.rules.push_back(from(link, {MatchSyn{}, ClampMss{}}, "segments fit the way out"));
  segments.rules.push_back(to(link, {MatchSyn{}, ClampMss{}}, "segments fit the way in"));
  passing.rules.push_back({"a connection begins", {MatchSyn{}, Jump{segments.name}}});
  return segments;
}

std::vector<Address> of_family(const std::vector<Address>& addresses, int family) {
  std::vector<Address> found;
  for (const Address& a : addresses)
    if (a.family == family) found.push_back(a);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace

const std::vector<Subnet>& metadata_subnets() {
  static const std::vector<Subnet> subnets = {
      parse_subnet("169.254.0.0/16"),      // AWS, Google, Azure, Oracle, OpenStack and most others
      parse_subnet("168.63.129.16/32"),    // Azure's wire server
      parse_subnet("100.100.100.200/32"),  // Alibaba
      parse_subnet("192.0.0.192/32"),      // Oracle
      parse_subnet("fd00:ec2::/32"),       // AWS
      parse_subnet("fd20:ce::254/128"),    // Google
      parse_subnet("fe80::/10"),           // OpenStack
  };
  return subnets;
}

const std::vector<std::string>& metadata_names() {
  static const std::vector<std::string> names = {"metadata.google.internal", "metadata.goog",
                                                 "instance-data.ec2.internal"};
  return names;
}

namespace {

// Of every link: a container that sends such packets, by the way of NAT or to the node itself, would speak
// with a node's voice.
NftChain guard_vxlan(NftTable& table, const NodeRules& rules) {
  table.sets.push_back({"peers4", AF_INET, of_family(rules.peers, AF_INET)});
  table.sets.push_back({"peers6", AF_INET6, of_family(rules.peers, AF_INET6)});
  NftChain chain{"vxlan"};
  for (const NftSet& set : table.sets)
    chain.rules.push_back({"VXLAN from strangers",
                           {MatchSet{Side::source, set.name, set.family, Match::different}, Verdict::drop}});
  chain.rules.push_back({"VXLAN needs no state", {NoTrack{}}});
  return chain;
}

NftChain sent_by_peers(const NodeRules& rules) {
  NftChain chain{"sent-by-peers"};
  chain.rules.push_back(
      {"forged source", {MatchSubnet{Side::source, rules.pool, Match::different}, Verdict::drop}});
  for (const Subnet& behind : rules.relayed)
    chain.rules.push_back(
        {"between nodes behind NAT", {MatchSubnet{Side::destination, behind}, Verdict::accept}});
  chain.rules.push_back({"peers send to this node's containers alone",
                         {MatchSubnet{Side::destination, rules.subnet, Match::different}, Verdict::drop}});
  chain.rules.push_back({"inside", {Verdict::accept}});
  return chain;
}

// A connection a flow in each direction for nothing; and the host's NAT rules must not touch these packets.
NftChain sending_vxlan(const NodeRules& rules) {
  NftChain sending{"sending", ChainType::filter, Hook::output, raw};
  for (auto [name, family] : {std::pair{"peers4", AF_INET}, {"peers6", AF_INET6}})
    sending.rules.push_back(
        {"VXLAN needs no state",
         {MatchPort{Protocol::udp, rules.port}, MatchSet{Side::destination, name, family}, NoTrack{}}});
  return sending;
}

void append(std::vector<NftRule>& rules, const std::vector<NftRule>& more) {
  rules.insert(rules.end(), more.begin(), more.end());
}

void add_answers(NftChain& chain) {
  chain.rules.push_back({"answers", {MatchState{state_established}, MatchReply{}, Verdict::accept}});
  chain.rules.push_back({"errors about connections", {MatchState{state_related}, Verdict::accept}});
}

// What is forwarded when the cluster has a policy: closed, but for what it opens. The receiving node decides.
std::vector<NftChain> guard_by_policy(NftTable& table, NftChain& passing, const NodeRules& rules,
                                      const PolicyRules& policy, Egress egress) {
  for (const NftSet& set : policy.sets) table.sets.push_back(set);
  std::vector<Address> machines = rules.machines;
  std::sort(machines.begin(), machines.end());
  table.sets.push_back({"machines", AF_INET, machines});
  NftChain inwards{std::string(to_containers_chain)}, outwards{std::string(from_containers_chain)};
  passing.rules.push_back(to(rules.bridge, {Jump{inwards.name}}, "to containers"));
  passing.rules.push_back(from(rules.bridge, {Jump{outwards.name}}, "from containers"));
  // Answers alone: what the one that opened the connection sends is asked each time, so that a rule that is
  // taken away ends the connections that it let in.
  add_answers(inwards);
  if (!rules.overlay_link.empty())
    inwards.rules.push_back(from(rules.overlay_link,
                                 {MatchSet{Side::source, "machines", AF_INET}, Verdict::accept},
                                 "the machines themselves"));
  append(inwards.rules, policy.inwards);
  inwards.rules.push_back({"closed unless a rule opens it", {Verdict::drop}});
  if (!rules.overlay_link.empty())
    outwards.rules.push_back(to(rules.overlay_link, {Verdict::accept}, "the receiving node decides"));
  if (egress == Egress::open) {
    outwards.rules.push_back({"egress is open", {Verdict::accept}});
  } else {
    add_answers(outwards);
    append(outwards.rules, policy.outwards);
    outwards.rules.push_back({"egress is declared", {Verdict::drop}});
  }
  return {inwards, outwards};
}

}  // namespace

NftTable node_table(const NodeRules& rules) {
  NftTable table{std::string(node_table_name)};
  bool overlaid = rules.mode != OverlayMode::none, vxlan = rules.mode == OverlayMode::vxlan;
  PolicyRules policy;
  if (rules.policy) policy = policy_rules(*rules.policy, rules.subnet);

  // The chains of a hook branch first, by what most packets are; an overlay's throughput depends on it.
  NftChain arriving{"arriving", ChainType::filter, Hook::prerouting, raw};
  std::vector<NftChain> branches;
  auto branch = [&](NftRule rule, NftChain chain) {
    rule.expressions.emplace_back(Jump{chain.name});
    arriving.rules.push_back(std::move(rule));
    branches.push_back(std::move(chain));
  };
  if (vxlan) branch({"VXLAN", {MatchPort{Protocol::udp, rules.port}}}, guard_vxlan(table, rules));
  NftRule foreign{"not the pool's",
                  {MatchSubnet{Side::source, rules.pool, Match::different},
                   MatchSubnet{Side::destination, rules.pool, Match::different},
                   MatchLink{Way::in, rules.bridge, Match::different}}};
  if (overlaid) foreign.expressions.emplace_back(MatchLink{Way::in, rules.overlay_link, Match::different});
  foreign.expressions.emplace_back(Verdict::accept);
  arriving.rules.push_back(std::move(foreign));
  if (overlaid) branch(from(rules.overlay_link, {}, "from peers"), sent_by_peers(rules));
  branch(from(rules.bridge, {}, "from containers"),
         sent_by_containers(rules.subnet, rules.pool, rules.block_metadata,
                            rules.policy && !rules.policy->metadata.empty()));
  arriving.rules.push_back(from("lo", {Verdict::accept}, "inside"));
  for (Side side : {Side::source, Side::destination})
    arriving.rules.push_back(
        {"the pool is on no other link", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  NftChain passing{"passing", ChainType::filter, Hook::forward, filter};
  branches.push_back(clamp(passing, rules.bridge));
  if (rules.policy) {
    for (NftChain& chain : guard_by_policy(table, passing, rules, policy, rules.policy->egress))
      branches.push_back(std::move(chain));
  } else {
    passing.rules.push_back(from(rules.bridge, {Verdict::accept}, "containers"));
    if (overlaid) passing.rules.push_back(from(rules.overlay_link, {Verdict::accept}, "containers"));
    guard_inwards(passing, rules.bridge);
  }

  NftChain egress{"egress", ChainType::nat, Hook::postrouting, source_nat};
  MatchSubnet mine{Side::source, rules.subnet};
  append(egress.rules, policy.hairpins);
  egress.rules.push_back({"containers see each other's addresses",
                          {mine, MatchSubnet{Side::destination, rules.pool}, Verdict::stop}});
  egress.rules.push_back(
      {"multicast keeps its source", {mine, MatchSubnet{Side::destination, multicast()}, Verdict::stop}});
  if (overlaid)
    egress.rules.push_back(to(rules.overlay_link,
                              {MatchSubnet{Side::source, rules.pool, Match::different}, Masquerade{}},
                              "the host itself, towards other nodes' containers"));
  egress.rules.push_back({"egress", {mine, Masquerade{}}});

  NftChain leaving{"leaving", ChainType::filter, Hook::postrouting, after_nat};
  leaving.rules.push_back({"not the pool's",
                           {MatchSubnet{Side::source, rules.pool, Match::different},
                            MatchSubnet{Side::destination, rules.pool, Match::different}, Verdict::accept}});
  if (overlaid) leaving.rules.push_back(to(rules.overlay_link, {Verdict::accept}, "inside"));
  for (const std::string& link : {rules.bridge, std::string("lo")})
    leaving.rules.push_back(to(link, {Verdict::accept}, "inside"));
  for (Side side : {Side::source, Side::destination})
    leaving.rules.push_back(
        {"nothing of the pool leaves in clear", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  table.chains = {arriving, passing, egress, leaving};
  if (vxlan) table.chains.push_back(sending_vxlan(rules));
  if (!policy.published.empty())
    table.chains.push_back(
        {"published", ChainType::nat, Hook::prerouting, destination_nat, policy.published});
  table.chains.insert(table.chains.end(), branches.begin(), branches.end());
  return table;
}

NftTable build_table(const std::string& name, const std::string& link, const Subnet& subnet) {
  NftChain arriving{"arriving", ChainType::filter, Hook::prerouting, raw};
  NftChain sent = sent_by_containers(subnet, {}, true);
  arriving.rules.push_back(from(link, {Jump{sent.name}}, "from the step"));
  NftChain passing{"passing", ChainType::filter, Hook::forward, filter};
  NftChain segments = clamp(passing, link);
  guard_inwards(passing, link);
  NftChain egress{"egress", ChainType::nat, Hook::postrouting, source_nat};
  egress.rules.push_back({"egress", {MatchSubnet{Side::source, subnet}, Masquerade{}}});
  return {name, {}, {arriving, passing, egress, sent, segments}};
}

std::vector<NftRule> forward_permits(const std::string& bridge, const Subnet& pool,
                                     const std::string& relaying) {
  std::vector<NftRule> permits = {
      from(bridge, {MatchSubnet{Side::source, pool}, Verdict::accept}, "from containers"),
      to(bridge, {MatchSubnet{Side::destination, pool}, Verdict::accept}, "to containers")};
  if (!relaying.empty())
    permits.push_back(from(relaying,
                           {MatchLink{Way::out, relaying}, MatchSubnet{Side::source, pool}, Verdict::accept},
                           "between nodes behind NAT"));
  return permits;
}

std::vector<NftRule> input_permits(OverlayMode mode, uint16_t port, const std::string& overlay_link) {
  if (mode == OverlayMode::none) return {};
  return {{encrypts(mode) ? "overlay (whoever has no key of the cluster is ignored)"
                          : "overlay (table inet rayctl admits peers alone)",
           {MatchPort{Protocol::udp, port}, Verdict::accept}},
          from(overlay_link, {MatchProtocol{Protocol::icmp}, Verdict::accept}, "echoes from other nodes")};
}

}  // namespace rayctl::net
