// Rules back from the kernel's expressions to text: what really stands there, not what was meant.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "net/nft.h"
#include "net/nft_encode.h"

namespace rayctl::net {

namespace {

// What register 1 holds while a rule is read.
struct Value {
  enum class Kind { none, link_in, link_out, family, protocol, address, port, other } kind = Kind::none;
  std::string name;  // "ip saddr", "ct state"
  Bytes mask = {};
};

std::string address_text(Bytes bytes, int length) {
  Address address;
  if (bytes.size() != 4 && bytes.size() != 16) return "?";
  address.family = bytes.size() == 4 ? AF_INET : AF_INET6;
  std::memcpy(address.bytes.data(), bytes.data(), bytes.size());
  if (length == static_cast<int>(bytes.size() * 8)) return to_string(address);
  return to_string(subnet_of(address, length));
}

int ones(Bytes mask) {
  int count = 0;
  for (std::byte b : mask)
    for (int bit = 7; bit >= 0; --bit) count += std::to_integer<int>(b) >> bit & 1;
  return count;
}

uint32_t number(Bytes bytes) {
  uint32_t value = 0;
  if (bytes.size() == 1) return std::to_integer<uint32_t>(bytes[0]);
  if (bytes.size() == 4) std::memcpy(&value, bytes.data(), 4);  // the host's order
  if (bytes.size() == 2)
    value = std::to_integer<uint32_t>(bytes[0]) << 8 | std::to_integer<uint32_t>(bytes[1]);
  return value;
}

std::string protocol_text(uint32_t protocol) {
  return protocol == 6    ? "tcp"
         : protocol == 17 ? "udp"
         : protocol == 1  ? "icmp"
                          : fmt::format("{}", protocol);
}

class Decoder {
 public:
  void take(const std::string& name, Attributes data) {
    if (name == "meta") return meta(data.be32(NFTA_META_KEY).value_or(0));
    if (name == "payload") return payload(data);
    if (name == "bitwise") {
      value_.mask = data.nested(NFTA_BITWISE_MASK).find(NFTA_DATA_VALUE).value_or(Bytes{});
      return;
    }
    if (name == "cmp") return compare(data);
    if (name == "lookup") {
      bool inverse = data.be32(NFTA_LOOKUP_FLAGS).value_or(0) & NFT_LOOKUP_F_INV;
      return say(fmt::format("{} {}@{}", value_.name, inverse ? "!= " : "",
                             data.string(NFTA_LOOKUP_SET).value_or("?")));
    }
    if (name == "ct") {
      uint32_t key = data.be32(NFTA_CT_KEY).value_or(0);
      value_ = {Value::Kind::other, key == NFT_CT_STATE       ? "ct state"
                                    : key == NFT_CT_STATUS    ? "ct status"
                                    : key == NFT_CT_DIRECTION ? "ct direction"
                                                              : "ct ?"};
      return;
    }
    if (name == "fib") {
      value_ = {Value::Kind::other, "fib daddr type"};
      return;
    }
    if (name == "numgen") {
      value_ = {Value::Kind::other, fmt::format("numgen inc mod {}", data.be32(NFTA_NG_MODULUS).value_or(0))};
      return;
    }
    if (name == "counter") return say("counter");
    if (name == "immediate") return immediate(data);
    if (name == "masq") return say("masquerade");
    if (name == "nat") return say("dnat ip to " + address_);
    if (name == "notrack" || name == "reject" || name == "log" || name == "limit") return say(name);
    if (name == "rt" || name == "byteorder") return;
    if (name == "exthdr") return say("tcp option maxseg size set rt mtu");
    say("?" + name);
  }
  const std::string& text() const { return text_; }

 private:
  void say(const std::string& word) { text_ += (text_.empty() ? "" : " ") + word; }

  void meta(uint32_t key) {
    using Kind = Value::Kind;
    value_ = key == NFT_META_IIFNAME   ? Value{Kind::link_in, "iifname"}
             : key == NFT_META_OIFNAME ? Value{Kind::link_out, "oifname"}
             : key == NFT_META_NFPROTO ? Value{Kind::family, "meta nfproto"}
             : key == NFT_META_L4PROTO ? Value{Kind::protocol, "meta l4proto"}
                                       : Value{Kind::other, "meta ?"};
  }

  void payload(Attributes data) {
    uint32_t base = data.be32(NFTA_PAYLOAD_BASE).value_or(0),
             offset = data.be32(NFTA_PAYLOAD_OFFSET).value_or(0),
             length = data.be32(NFTA_PAYLOAD_LEN).value_or(0);
    if (base == NFT_PAYLOAD_NETWORK_HEADER && (length == 4 || length == 16)) {
      bool source = offset == (length == 4 ? 12u : 8u);
      constexpr std::string_view said = "meta nfproto ipv6";  // "ip6 saddr" says it again
      if (length == 16 && text_.ends_with(said)) {
        text_.resize(text_.size() - said.size());
        if (text_.ends_with(' ')) text_.pop_back();
      }
      value_ = {Value::Kind::address,
                fmt::format("{} {}", length == 4 ? "ip" : "ip6", source ? "saddr" : "daddr")};
    } else if (base == NFT_PAYLOAD_TRANSPORT_HEADER && length == 2) {
      value_ = {Value::Kind::port, fmt::format("{} {}", protocol_, offset == 0 ? "sport" : "dport")};
      text_ = before_protocol_;  // "tcp dport" says the protocol
    } else if (base == NFT_PAYLOAD_TRANSPORT_HEADER && offset == 13) {
      value_ = {Value::Kind::other, "tcp flags"};
      text_ = before_protocol_;
    } else {
      value_ = {Value::Kind::other, "?payload"};
    }
  }

  void compare(Attributes data) {
    Bytes bytes = data.nested(NFTA_CMP_DATA).find(NFTA_DATA_VALUE).value_or(Bytes{});
    uint32_t operation = data.be32(NFTA_CMP_OP).value_or(0);
    std::string not_equal = operation == NFT_CMP_NEQ ? "!= " : "";
    switch (value_.kind) {
      case Value::Kind::link_in:
      case Value::Kind::link_out: {
        std::string_view name = as_text(bytes);
        return say(fmt::format("{} {}\"{}\"", value_.name, not_equal, name.substr(0, name.find('\0'))));
      }
      case Value::Kind::family:
        if (number(bytes) == NFPROTO_IPV6) say("meta nfproto ipv6");
        return;  // IPv4 is told by the addresses
      case Value::Kind::protocol:
        protocol_ = protocol_text(number(bytes));
        before_protocol_ = text_;
        return say(value_.name + " " + protocol_);
      case Value::Kind::address:
        return say(fmt::format("{} {}{}", value_.name, not_equal,
                               address_text(bytes, value_.mask.empty() ? static_cast<int>(bytes.size() * 8)
                                                                       : ones(value_.mask))));
      case Value::Kind::port:
        if (operation == NFT_CMP_LTE) {
          text_ += fmt::format("-{}", number(bytes));
          return;
        }
        return say(fmt::format("{} {}{}", value_.name, not_equal, number(bytes)));
      case Value::Kind::none:
      case Value::Kind::other:
        break;
    }
    if (value_.name == "ct state") return say("ct state " + states(number(value_.mask)));
    if (value_.name == "ct status")
      return say(number(value_.mask) == IPS_DST_NAT ? "ct status dnat" : "ct status ?");
    if (value_.name == "ct direction")
      return say(number(bytes) == IP_CT_DIR_REPLY ? "ct direction reply" : "ct direction original");
    if (value_.name.starts_with("numgen")) return say(fmt::format("{} {}", value_.name, number(bytes)));
    if (value_.name == "fib daddr type")
      return say(number(bytes) == 2 ? "fib daddr type local" : "fib daddr type ?");
    if (value_.name == "tcp flags") return say("tcp flags & (syn | rst) == syn");
    say(value_.name + " ?");
  }

  static std::string states(uint32_t bits) {
    std::string text;
    for (auto [bit, word] :
         {std::pair{state_established, "established"}, {state_related, "related"}, {state_new, "new"}})
      if (bits & bit) text += (text.empty() ? "" : ",") + std::string(word);
    return text;
  }

  void immediate(Attributes data) {
    Attributes content = data.nested(NFTA_IMMEDIATE_DATA);
    if (auto bytes = content.find(NFTA_DATA_VALUE)) {
      address_ = address_text(*bytes, static_cast<int>(bytes->size() * 8));
      return;
    }
    Attributes verdict = content.nested(NFTA_DATA_VERDICT);
    auto code = verdict.be32(NFTA_VERDICT_CODE);
    if (!code) return say("?");
    if (*code == uint32_t(NFT_JUMP)) return say("jump " + verdict.string(NFTA_VERDICT_CHAIN).value_or("?"));
    say(*code == NF_ACCEPT              ? "accept"
        : *code == NF_DROP              ? "drop"
        : *code == uint32_t(NFT_RETURN) ? "return"
                                        : "?verdict");
  }

  std::string text_, before_protocol_, protocol_ = "?", address_ = "?";
  Value value_;
};

}  // namespace

std::string decode_rule(Attributes expressions) {
  Decoder decoder;
  for (Attribute element; expressions.next(element);) {
    Attributes expression(element.value);
    decoder.take(expression.string(NFTA_EXPR_NAME).value_or(""), expression.nested(NFTA_EXPR_DATA));
  }
  return decoder.text();
}

std::vector<std::string> kernel_rules(Netlink& netfilter, const std::string& table,
                                      const std::string& chain) {
  Message message = nft_message(NFT_MSG_GETRULE, NFPROTO_INET, 0);
  message.string(NFTA_RULE_TABLE, table).string(NFTA_RULE_CHAIN, chain);
  std::vector<std::string> rules;
  netfilter.dump(message, "cannot list nftables rules", [&](const Answer& answer) {
    if ((answer.type & 0xff) != NFT_MSG_NEWRULE) return;
    Attributes attributes = answer.attributes(sizeof(nfgenmsg));
    if (attributes.string(NFTA_RULE_TABLE) != table || attributes.string(NFTA_RULE_CHAIN) != chain) return;
    rules.push_back(decode_rule(attributes.nested(NFTA_RULE_EXPRESSIONS)));
  });
  return rules;
}

}  // namespace rayctl::net
