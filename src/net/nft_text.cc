// nftables rules as nft writes them: for people, golden files and the tags that rules carry.
#include "net/nft.h"

namespace rayctl::net {

namespace {

std::string_view family_word(int family) {
  return family == AF_INET ? "ip" : "ip6";
}

std::string_view side_word(Side side) {
  return side == Side::source ? "saddr" : "daddr";
}

std::string_view match_word(Match match) {
  return match == Match::equal ? "" : "!= ";
}

std::string_view protocol_word(Protocol protocol) {
  return protocol == Protocol::tcp ? "tcp" : protocol == Protocol::udp ? "udp" : "icmp";
}

std::string states(uint32_t bits) {
  std::string text;
  auto add = [&](uint32_t bit, std::string_view name) {
    if (bits & bit) text += (text.empty() ? "" : ",") + std::string(name);
  };
  add(state_established, "established");
  add(state_related, "related");
  add(state_new, "new");
  return text;
}

struct Writer {
  std::string operator()(const MatchLink& e) const {
    return fmt::format("{} {}\"{}\"", e.way == Way::in ? "iifname" : "oifname", match_word(e.match), e.name);
  }
  std::string operator()(const MatchFamily& e) const {
    return fmt::format("meta nfproto {}", e.family == AF_INET ? "ipv4" : "ipv6");
  }
  std::string operator()(const MatchSubnet& e) const {
    bool host = e.subnet.length == static_cast<int>(e.subnet.base.size() * 8);
    return fmt::format("{} {} {}{}", family_word(e.subnet.base.family), side_word(e.side),
                       match_word(e.match), host ? to_string(e.subnet.base) : to_string(e.subnet));
  }
  std::string operator()(const MatchSet& e) const {
    return fmt::format("{} {} {}@{}", family_word(e.family), side_word(e.side), match_word(e.match), e.set);
  }
  std::string operator()(const MatchPort& e) const {
    std::string text = fmt::format("{} dport {}", protocol_word(e.protocol), e.port);
    return e.last == 0 || e.last == e.port ? text : text + fmt::format("-{}", e.last);
  }
  std::string operator()(const MatchProtocol& e) const {
    return fmt::format("meta l4proto {}", protocol_word(e.protocol));
  }
  std::string operator()(const MatchLocal&) const { return "fib daddr type local"; }
  std::string operator()(const Dnat& e) const { return "dnat ip to " + to_string(e.to); }
  std::string operator()(const MatchSyn&) const { return "tcp flags & (syn | rst) == syn"; }
  std::string operator()(const MatchState& e) const { return "ct state " + states(e.bits); }
  std::string operator()(const MatchReply&) const { return "ct direction reply"; }
  std::string operator()(const MatchShare& e) const { return fmt::format("numgen inc mod {} 0", e.of); }
  std::string operator()(const MatchDnat&) const { return "ct status dnat"; }
  std::string operator()(const ClampMss&) const { return "tcp option maxseg size set rt mtu"; }
  std::string operator()(const Masquerade&) const { return "masquerade fully-random"; }
  std::string operator()(const NoTrack&) const { return "notrack"; }
  std::string operator()(Verdict verdict) const {
    return verdict == Verdict::accept ? "counter accept"
           : verdict == Verdict::drop ? "counter drop"
                                      : "counter return";
  }
  std::string operator()(const Jump& e) const { return "jump " + e.chain; }
};

std::string_view hook_word(Hook hook) {
  switch (hook) {
    case Hook::prerouting:
      return "prerouting";
    case Hook::input:
      return "input";
    case Hook::forward:
      return "forward";
    case Hook::output:
      return "output";
    case Hook::postrouting:
      return "postrouting";
  }
  return "?";
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string to_text(const NftRule& rule) {
  std::string text;
  for (const Expression& expression : rule.expressions)
    text += (text.empty() ? "" : " ") + std::visit(Writer{}, expression);
  return text;
}

std::string rule_tag(const NftRule& rule) {
  return fmt::format("rayctl:{:016x} {}", fnv1a(to_text(rule)), rule.comment);
}

std::string to_text(const NftTable& table) {
  std::string text = fmt::format("table inet {} {{\n", table.name);
  for (const NftSet& set : table.sets) {
    text += fmt::format("\tset {} {{\n\t\ttype {}\n", set.name,
                        set.family == AF_INET ? "ipv4_addr" : "ipv6_addr");
    std::string elements;
    for (const Address& e : set.elements) elements += (elements.empty() ? "" : ", ") + to_string(e);
    if (!elements.empty()) text += fmt::format("\t\telements = {{ {} }}\n", elements);
    text += "\t}\n";
  }
  for (const NftChain& chain : table.chains) {
    text += fmt::format("\tchain {} {{\n", chain.name);
    if (chain.hook)
      text += fmt::format("\t\ttype {} hook {} priority {}; policy accept;\n",
                          chain.type == ChainType::nat ? "nat" : "filter", hook_word(*chain.hook),
                          chain.priority);
    for (const NftRule& rule : chain.rules)
      text += fmt::format("\t\t{} comment \"{}\"\n", to_text(rule), rule.comment);
    text += "\t}\n";
  }
  return text + "}\n";
}

}  // namespace rayctl::net
