#include "net/firewall.h"

#include <algorithm>

#include "net/names.h"

namespace rayctl::net {

namespace {

constexpr int raw = -300, mangle = -150, filter = 0, source_nat = 100, after_nat = 150;

NftRule from(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::in, link});
  return {std::move(comment), std::move(rest)};
}

NftRule to(const std::string& link, std::vector<Expression> rest, std::string comment) {
  rest.insert(rest.begin(), MatchLink{Way::out, link});
  return {std::move(comment), std::move(rest)};
}

// What containers may not send, whatever happens to it later: before connection tracking and NAT.
void guard_containers(NftChain& chain, const std::string& link, const Subnet& subnet, bool block_metadata) {
  if (block_metadata)
    for (const Subnet& metadata : metadata_subnets())
      chain.rules.push_back(
          from(link, {MatchSubnet{Side::destination, metadata}, Verdict::drop}, "metadata service"));
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

NftTable node_table(const NodeRules& rules) {
  NftTable table{std::string(node_table_name)};
  std::vector<std::string> inside = {"lo", rules.bridge};
  if (rules.overlay_link) inside.push_back(*rules.overlay_link);

  NftChain arriving{"arriving", ChainType::filter, Hook::prerouting, raw};
  guard_containers(arriving, rules.bridge, rules.subnet, rules.block_metadata);
  if (rules.overlay_link) {
    const std::string& link = *rules.overlay_link;
    arriving.rules.push_back(from(
        link, {MatchSubnet{Side::source, rules.pool, Match::different}, Verdict::drop}, "forged source"));
    arriving.rules.push_back(
        from(link, {MatchSubnet{Side::destination, rules.subnet, Match::different}, Verdict::drop},
             "peers send to this node's containers alone"));
    table.sets.push_back({"peers4", AF_INET, of_family(rules.peers, AF_INET)});
    table.sets.push_back({"peers6", AF_INET6, of_family(rules.peers, AF_INET6)});
    // Before the links inside are let go on: a container that sends such packets by the way of NAT would
    // speak with this node's voice.
    MatchPort port{Protocol::udp, rules.vxlan_port};
    for (const NftSet& set : table.sets)
      arriving.rules.push_back(
          {"VXLAN from strangers",
           {port, MatchSet{Side::source, set.name, set.family, Match::different}, Verdict::drop}});
    arriving.rules.push_back({"VXLAN needs no state", {port, NoTrack{}}});
  }
  for (const std::string& link : inside) arriving.rules.push_back(from(link, {Verdict::stop}, "inside"));
  for (Side side : {Side::source, Side::destination})
    arriving.rules.push_back(
        {"the pool is on no other link", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  // A connection a flow in each direction for nothing; and the host's NAT rules must not touch these packets.
  NftChain sending{"sending", ChainType::filter, Hook::output, raw};
  for (const NftSet& set : table.sets)
    sending.rules.push_back({"VXLAN needs no state",
                             {MatchPort{Protocol::udp, rules.vxlan_port},
                              MatchSet{Side::destination, set.name, set.family}, NoTrack{}}});

  NftChain sizes{"sizes", ChainType::filter, Hook::forward, mangle};
  clamp(sizes, rules.bridge);

  NftChain passing{"passing", ChainType::filter, Hook::forward, filter};
  for (const std::string& link : inside)
    if (link != "lo") passing.rules.push_back(from(link, {Verdict::accept}, "containers"));
  guard_inwards(passing, rules.bridge);

  NftChain egress{"egress", ChainType::nat, Hook::postrouting, source_nat};
  MatchSubnet mine{Side::source, rules.subnet};
  egress.rules.push_back({"containers see each other's addresses",
                          {mine, MatchSubnet{Side::destination, rules.pool}, Verdict::stop}});
  egress.rules.push_back(
      {"multicast keeps its source", {mine, MatchSubnet{Side::destination, multicast()}, Verdict::stop}});
  if (rules.overlay_link)
    egress.rules.push_back(to(*rules.overlay_link,
                              {MatchSubnet{Side::source, rules.pool, Match::different}, Masquerade{}},
                              "the host itself, towards other nodes' containers"));
  egress.rules.push_back({"egress", {mine, Masquerade{}}});

  NftChain leaving{"leaving", ChainType::filter, Hook::postrouting, after_nat};
  for (const std::string& link : inside) leaving.rules.push_back(to(link, {Verdict::stop}, "inside"));
  for (Side side : {Side::source, Side::destination})
    leaving.rules.push_back(
        {"nothing of the pool leaves in clear", {MatchSubnet{side, rules.pool}, Verdict::drop}});

  table.chains = {arriving, sizes, passing, egress, leaving};
  if (rules.overlay_link) table.chains.push_back(sending);
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

std::vector<NftRule> forward_permits(const std::string& bridge, const Subnet& pool) {
  return {from(bridge, {MatchSubnet{Side::source, pool}, Verdict::accept}, "from containers"),
          to(bridge, {MatchSubnet{Side::destination, pool}, Verdict::accept}, "to containers")};
}

std::vector<NftRule> input_permits(uint16_t vxlan_port) {
  return {{"overlay (table inet rayctl admits peers alone)",
           {MatchPort{Protocol::udp, vxlan_port}, Verdict::accept}}};
}

}  // namespace rayctl::net
