#include "net/firewall.h"

#include <algorithm>

#include "net/names.h"

namespace rayctl::net {

namespace {

constexpr int raw = -300, mangle = -150, destination_nat = -100, filter = 0, source_nat = 100,
              after_nat = 150;

NftRule from(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::in, link});
  return {std::move(comment), std::move(rest)};
}

NftRule to(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::out, link});
  return {std::move(comment), std::move(rest)};
}

// What containers may not send, whatever happens to it later: before connection tracking and NAT.
void guard_containers(NftChain& chain, const std::string& link, const Subnet& subnet, bool block_metadata,
                      bool some_allowed = false) {
  if (block_metadata)
    for (const Subnet& metadata : metadata_subnets()) {
      std::vector<Expression> what = {MatchSubnet{Side::destination, metadata}, Verdict::drop};
      if (some_allowed && metadata.base.is_v4())
        what.insert(what.begin(), MatchSet{Side::source, "metadata", AF_INET, Match::different});
      chain.rules.push_back(from(link, what, "metadata service"));
    }
  chain.rules.push_back(
      from(link, {MatchSubnet{Side::source, subnet, Match::different}, Verdict::drop}, "forged source"));
  chain.rules.push_back(from(link, {MatchFamily{AF_INET6}, Verdict::drop}, "containers have no IPv6"));
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

void clamp(NftChain& chain, const std::string& link) {
  chain.rules.push_back(from(link, {MatchSyn{}, ClampMss{}}, "segments fit the way out"));
  chain.rules.push_back(to(link, {MatchSyn{}, ClampMss{}}, "segments fit the way in"));
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

// Before the links inside are let go on: a container that sends such packets by the way of NAT would speak
// with this node's voice.
void guard_vxlan(NftTable& table, NftChain& arriving, const NodeRules& rules) {
  table.sets.push_back({"peers4", AF_INET, of_family(rules.peers, AF_INET)});
  table.sets.push_back({"peers6", AF_INET6, of_family(rules.peers, AF_INET6)});
  MatchPort port{Protocol::udp, rules.port};
  for (const NftSet& set : table.sets)
    arriving.rules.push_back(
        {"VXLAN from strangers",
         {port, MatchSet{Side::source, set.name, set.family, Match::different}, Verdict::drop}});
  arriving.rules.push_back({"VXLAN needs no state", {port, NoTrack{}}});
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

using AtLink = NftRule (*)(const std::string& link, std::vector<Expression> rest, std::string comment);
void add_answers(NftChain& chain, AtLink at, const std::string& link) {
  chain.rules.push_back(at(link, {MatchState{state_established}, MatchReply{}, Verdict::accept}, "answers"));
  chain.rules.push_back(at(link, {MatchState{state_related}, Verdict::accept}, "errors about connections"));
}

// What is forwarded when the cluster has a policy: closed, but for what it opens. The receiving node decides.
void guard_by_policy(NftTable& table, NftChain& passing, const NodeRules& rules, const PolicyRules& policy,
                     Egress egress) {
  for (const NftSet& set : policy.sets) table.sets.push_back(set);
  std::vector<Address> machines = rules.machines;
  std::sort(machines.begin(), machines.end());
  table.sets.push_back({"machines", AF_INET, machines});
  // Answers alone: what the one that opened the connection sends is asked each time, so that a rule that is
  // taken away ends the connections that it let in.
  add_answers(passing, to, rules.bridge);
  if (!rules.overlay_link.empty())
    passing.rules.push_back(to(rules.bridge,
                               {MatchLink{Way::in, rules.overlay_link},
                                MatchSet{Side::source, "machines", AF_INET}, Verdict::accept},
                               "the machines themselves"));
  append(passing.rules, policy.inwards);
  passing.rules.push_back(to(rules.bridge, {Verdict::drop}, "closed unless a rule opens it"));
  if (!rules.overlay_link.empty())
    passing.rules.push_back(from(rules.bridge, {MatchLink{Way::out, rules.overlay_link}, Verdict::accept},
                                 "the receiving node decides"));
  if (egress == Egress::open) {
    passing.rules.push_back(from(rules.bridge, {Verdict::accept}, "egress is open"));
    return;
  }
  add_answers(passing, from, rules.bridge);
  append(passing.rules, policy.outwards);
  passing.rules.push_back(from(rules.bridge, {Verdict::drop}, "egress is declared"));
}

}  // namespace

NftTable node_table(const NodeRules& rules) {
  NftTable table{std::string(node_table_name)};
  bool overlaid = rules.mode != OverlayMode::none, vxlan = rules.mode == OverlayMode::vxlan;
  std::vector<std::string> inside = {"lo", rules.bridge};
  if (overlaid) inside.push_back(rules.overlay_link);
  PolicyRules policy;
  if (rules.policy) policy = policy_rules(*rules.policy, rules.bridge, rules.subnet);

  NftChain arriving{"arriving", ChainType::filter, Hook::prerouting, raw};
  guard_containers(arriving, rules.bridge, rules.subnet, rules.block_metadata,
                   rules.policy && !rules.policy->metadata.empty());
  if (overlaid) {
    const std::string& link = rules.overlay_link;
    arriving.rules.push_back(from(
        link, {MatchSubnet{Side::source, rules.pool, Match::different}, Verdict::drop}, "forged source"));
    for (const Subnet& behind : rules.relayed)
      arriving.rules.push_back(
          from(link, {MatchSubnet{Side::destination, behind}, Verdict::stop}, "between nodes behind NAT"));
    arriving.rules.push_back(
        from(link, {MatchSubnet{Side::destination, rules.subnet, Match::different}, Verdict::drop},
             "peers send to this node's containers alone"));
    if (vxlan) guard_vxlan(table, arriving, rules);
  }
  for (const std::string& link : inside) arriving.rules.push_back(from(link, {Verdict::stop}, "inside"));
  for (Side side : {Side::source, Side::destination})
    arriving.rules.push_back(
        {"the pool is on no other link", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  NftChain sizes{"sizes", ChainType::filter, Hook::forward, mangle};
  clamp(sizes, rules.bridge);

  NftChain passing{"passing", ChainType::filter, Hook::forward, filter};
  if (rules.policy) {
    guard_by_policy(table, passing, rules, policy, rules.policy->egress);
  } else {
    for (const std::string& link : inside)
      if (link != "lo") passing.rules.push_back(from(link, {Verdict::accept}, "containers"));
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
  for (const std::string& link : inside) leaving.rules.push_back(to(link, {Verdict::stop}, "inside"));
  for (Side side : {Side::source, Side::destination})
    leaving.rules.push_back(
        {"nothing of the pool leaves in clear", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  table.chains = {arriving, sizes, passing, egress, leaving};
  if (vxlan) table.chains.push_back(sending_vxlan(rules));
  if (!policy.published.empty())
    table.chains.push_back(
        {"published", ChainType::nat, Hook::prerouting, destination_nat, policy.published});
  return table;
}

NftTable build_table(const std::string& name, const std::string& link, const Subnet& subnet) {
  NftChain arriving{"arriving", ChainType::filter, Hook::prerouting, raw};
  guard_containers(arriving, link, subnet, true);
  NftChain sizes{"sizes", ChainType::filter, Hook::forward, mangle};
  clamp(sizes, link);
  NftChain passing{"passing", ChainType::filter, Hook::forward, filter};
  guard_inwards(passing, link);
  NftChain egress{"egress", ChainType::nat, Hook::postrouting, source_nat};
  egress.rules.push_back({"egress", {MatchSubnet{Side::source, subnet}, Masquerade{}}});
  return {name, {}, {arriving, sizes, passing, egress}};
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
