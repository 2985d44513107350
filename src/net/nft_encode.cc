#include "net/nft_encode.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <array>

namespace rayctl::net {

namespace {

constexpr uint8_t comment_type = 0;    // NFTNL_UDATA_RULE_COMMENT of libnftnl
constexpr size_t comment_limit = 128;  // as nft has it

// Writes expressions into a message; register 1 carries every value.
class Encoder {
 public:
  Encoder(Message& message, uint8_t family) : message_(message), family_(family) {}

  void operator()(const MatchLink& e) {
    meta(e.way == Way::in ? NFT_META_IIFNAME : NFT_META_OIFNAME);
    std::array<char, IFNAMSIZ> name{};
    e.name.copy(name.data(), name.size() - 1);
    compare(e.match, std::as_bytes(std::span(name)));
  }

  void operator()(const MatchFamily& e) {
    if (family_ != NFPROTO_INET) return;
    meta(NFT_META_NFPROTO);
    uint8_t value = e.family == AF_INET ? NFPROTO_IPV4 : NFPROTO_IPV6;
    compare(Match::equal, std::as_bytes(std::span(&value, 1)));
  }

  void operator()(const MatchSubnet& e) {
    const Address& base = e.subnet.base;
    load_address(e.side, base.family);
    if (e.subnet.length < static_cast<int>(base.size() * 8)) {
      Address ones{base.family, {}};
      ones.bytes.fill(0xff);
      Address mask = subnet_of(ones, e.subnet.length).base;
      bitwise(std::as_bytes(std::span(mask.bytes.data(), mask.size())));
    }
    compare(e.match, std::as_bytes(std::span(base.bytes.data(), base.size())));
  }

  void operator()(const MatchSet& e) {
    load_address(e.side, e.family);
    expression("lookup", [&] {
      message_.string(NFTA_LOOKUP_SET, e.set).be32(NFTA_LOOKUP_SREG, NFT_REG_1);
      if (e.match == Match::different) message_.be32(NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
    });
  }

  void operator()(const MatchPort& e) {
    match_protocol(e.protocol);
    payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    uint16_t port = htons(e.port), last = htons(e.last);
    if (e.last == 0 || e.last == e.port) return compare(Match::equal, std::as_bytes(std::span(&port, 1)));
    compare(NFT_CMP_GTE, std::as_bytes(std::span(&port, 1)));
    compare(NFT_CMP_LTE, std::as_bytes(std::span(&last, 1)));
  }

  void operator()(const MatchProtocol& e) { match_protocol(e.protocol); }

  void operator()(const MatchLocal&) {
    expression("fib", [&] {
      message_.be32(NFTA_FIB_DREG, NFT_REG_1)
          .be32(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
          .be32(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
    });
    uint32_t local = RTN_LOCAL;
    compare(Match::equal, std::as_bytes(std::span(&local, 1)));
  }

  void operator()(const Dnat& e) {
    expression("immediate", [&] {
      message_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_1);
      message_.nest(NFTA_IMMEDIATE_DATA, [&] { message_.address(NFTA_DATA_VALUE, e.to); });
    });
    expression("nat", [&] {
      message_.be32(NFTA_NAT_TYPE, NFT_NAT_DNAT)
          .be32(NFTA_NAT_FAMILY, NFPROTO_IPV4)
          .be32(NFTA_NAT_REG_ADDR_MIN, NFT_REG_1);
    });
  }

  void operator()(const MatchSyn&) {
    match_protocol(Protocol::tcp);
    payload(NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
    constexpr uint8_t syn = 0x02, rst = 0x04;
    uint8_t mask = syn | rst, value = syn;
    bitwise(std::as_bytes(std::span(&mask, 1)));
    compare(Match::equal, std::as_bytes(std::span(&value, 1)));
  }

  void operator()(const MatchState& e) { conntrack_bits(NFT_CT_STATE, e.bits); }
  void operator()(const MatchReply&) {
    expression("ct", [&] { message_.be32(NFTA_CT_DREG, NFT_REG_1).be32(NFTA_CT_KEY, NFT_CT_DIRECTION); });
    uint8_t reply = IP_CT_DIR_REPLY;
    compare(Match::equal, std::as_bytes(std::span(&reply, 1)));
  }
  void operator()(const MatchShare& e) {
    expression("numgen", [&] {
      message_.be32(NFTA_NG_DREG, NFT_REG_1)
          .be32(NFTA_NG_MODULUS, e.of)
          .be32(NFTA_NG_TYPE, NFT_NG_INCREMENTAL)
          .be32(NFTA_NG_OFFSET, 0);
    });
    uint32_t zero = 0;
    compare(Match::equal, std::as_bytes(std::span(&zero, 1)));
  }
  void operator()(const MatchDnat&) { conntrack_bits(NFT_CT_STATUS, IPS_DST_NAT); }

  void operator()(const ClampMss&) {
    constexpr uint32_t maxseg_kind = 2, value_offset = 2, value_size = 2;
    expression("rt", [&] { message_.be32(NFTA_RT_DREG, NFT_REG_1).be32(NFTA_RT_KEY, NFT_RT_TCPMSS); });
    expression("byteorder", [&] {
      message_.be32(NFTA_BYTEORDER_SREG, NFT_REG_1)
          .be32(NFTA_BYTEORDER_DREG, NFT_REG_1)
          .be32(NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON)
          .be32(NFTA_BYTEORDER_LEN, value_size)
          .be32(NFTA_BYTEORDER_SIZE, value_size);
    });
    expression("exthdr", [&] {
      message_.be32(NFTA_EXTHDR_SREG, NFT_REG_1)
          .u8(NFTA_EXTHDR_TYPE, maxseg_kind)
          .be32(NFTA_EXTHDR_OFFSET, value_offset)
          .be32(NFTA_EXTHDR_LEN, value_size)
          .be32(NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
    });
  }

  void operator()(const Masquerade&) {
    expression("masq", [&] { message_.be32(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY); });
  }

  void operator()(const NoTrack&) {
    expression("notrack", [] {});
  }

  void operator()(Verdict verdict) {
    uint32_t code = verdict == Verdict::accept ? NF_ACCEPT
                    : verdict == Verdict::drop ? NF_DROP
                                               : static_cast<uint32_t>(NFT_RETURN);
    expression("counter", [] {});
    end([&] { message_.be32(NFTA_VERDICT_CODE, code); });
  }

  void operator()(const Jump& e) {
    end([&] {
      message_.be32(NFTA_VERDICT_CODE, static_cast<uint32_t>(NFT_JUMP)).string(NFTA_VERDICT_CHAIN, e.chain);
    });
  }

 private:
  void expression(std::string_view name, const std::function<void()>& data) {
    message_.nest(NFTA_LIST_ELEM, [&] {
      message_.string(NFTA_EXPR_NAME, name);
      message_.nest(NFTA_EXPR_DATA, data);
    });
  }

  void end(const std::function<void()>& verdict) {
    expression("immediate", [&] {
      message_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
      message_.nest(NFTA_IMMEDIATE_DATA, [&] { message_.nest(NFTA_DATA_VERDICT, verdict); });
    });
  }

  void meta(uint32_t key) {
    expression("meta", [&] { message_.be32(NFTA_META_DREG, NFT_REG_1).be32(NFTA_META_KEY, key); });
  }

  void payload(uint32_t base, uint32_t offset, uint32_t length) {
    expression("payload", [&] {
      message_.be32(NFTA_PAYLOAD_DREG, NFT_REG_1)
          .be32(NFTA_PAYLOAD_BASE, base)
          .be32(NFTA_PAYLOAD_OFFSET, offset)
          .be32(NFTA_PAYLOAD_LEN, length);
    });
  }

  void compare(Match match, Bytes value) { compare(match == Match::equal ? NFT_CMP_EQ : NFT_CMP_NEQ, value); }

  void compare(nft_cmp_ops operation, Bytes value) {
    expression("cmp", [&] {
      message_.be32(NFTA_CMP_SREG, NFT_REG_1).be32(NFTA_CMP_OP, operation);
      message_.nest(NFTA_CMP_DATA, [&] { message_.bytes(NFTA_DATA_VALUE, value); });
    });
  }

  void bitwise(Bytes mask) {
    std::vector<std::byte> zero(mask.size());
    expression("bitwise", [&] {
      message_.be32(NFTA_BITWISE_SREG, NFT_REG_1)
          .be32(NFTA_BITWISE_DREG, NFT_REG_1)
          .be32(NFTA_BITWISE_LEN, static_cast<uint32_t>(mask.size()));
      message_.nest(NFTA_BITWISE_MASK, [&] { message_.bytes(NFTA_DATA_VALUE, mask); });
      message_.nest(NFTA_BITWISE_XOR, [&] { message_.bytes(NFTA_DATA_VALUE, zero); });
    });
  }

  void load_address(Side side, int family) {
    (*this)(MatchFamily{family});
    bool v4 = family == AF_INET;
    uint32_t source = v4 ? 12 : 8, size = v4 ? 4 : 16;
    payload(NFT_PAYLOAD_NETWORK_HEADER, side == Side::source ? source : source + size, size);
  }

  void match_protocol(Protocol protocol) {
    meta(NFT_META_L4PROTO);
    uint8_t value = static_cast<uint8_t>(protocol);
    compare(Match::equal, std::as_bytes(std::span(&value, 1)));
  }

  void conntrack_bits(uint32_t key, uint32_t bits) {
    expression("ct", [&] { message_.be32(NFTA_CT_DREG, NFT_REG_1).be32(NFTA_CT_KEY, key); });
    uint32_t zero = 0;
    bitwise(std::as_bytes(std::span(&bits, 1)));
    compare(Match::different, std::as_bytes(std::span(&zero, 1)));
  }

  Message& message_;
  uint8_t family_;
};

}  // namespace

Message nft_message(uint16_t type, uint8_t family, uint16_t flags) {
  Message message(static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type), flags);
  nfgenmsg header{};
  header.nfgen_family = family;
  header.version = NFNETLINK_V0;
  return message.fixed(header);
}

void encode_rule(Message& message, uint8_t family, const NftRule& rule) {
  message.nest(NFTA_RULE_EXPRESSIONS, [&] {
    Encoder encoder(message, family);
    for (const Expression& expression : rule.expressions) std::visit(encoder, expression);
  });
  std::string tag = rule_tag(rule).substr(0, comment_limit - 1);
  std::string data;
  data += static_cast<char>(comment_type);
  data += static_cast<char>(tag.size() + 1);
  data += tag;
  data += '\0';
  message.bytes(NFTA_RULE_USERDATA, as_bytes(data));
}

std::string parse_comment(Bytes userdata) {
  std::string_view rest = as_text(userdata);
  while (rest.size() >= 2) {
    uint8_t type = static_cast<uint8_t>(rest[0]), length = static_cast<uint8_t>(rest[1]);
    rest.remove_prefix(2);
    if (length > rest.size()) return "";
    if (type == comment_type) {
      std::string_view text = rest.substr(0, length);
      return std::string(text.substr(0, text.find('\0')));
    }
    rest.remove_prefix(length);
  }
  return "";
}

}  // namespace rayctl::net
