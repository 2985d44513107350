#include "net/port_guard.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <set>

#include "net/names.h"
#include "net/nft.h"
#include "net/nft_encode.h"

namespace rayctl::net {

namespace {

constexpr uint32_t target_mac_offset = 0, source_mac_offset = 6, ip_source_offset = 12,
                   arp_sender_offset = 14;

// One rule: conditions, then a counter and a drop.
class Rule {
 public:
  Rule(std::vector<Message>& messages, const std::string& chain, std::string comment)
      : message_(
            messages.emplace_back(nft_message(NFT_MSG_NEWRULE, NFPROTO_NETDEV, NLM_F_CREATE | NLM_F_APPEND))),
        comment_(std::move(comment)) {
    message_.string(NFTA_RULE_TABLE, node_table_name).string(NFTA_RULE_CHAIN, chain);
  }

  void put(const std::function<void(Rule&)>& conditions) {
    message_.nest(NFTA_RULE_EXPRESSIONS, [&] {
      conditions(*this);
      expression("counter", [] {});
      expression("immediate", [&] {
        message_.be32(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT).nest(NFTA_IMMEDIATE_DATA, [&] {
          message_.nest(NFTA_DATA_VERDICT, [&] { message_.be32(NFTA_VERDICT_CODE, NF_DROP); });
        });
      });
    });
    std::string data{'\0', static_cast<char>(comment_.size() + 1)};  // a comment, as nft shows it
    data += comment_ + '\0';
    message_.bytes(NFTA_RULE_USERDATA, as_bytes(data));
  }

  Rule& protocol(uint16_t type, nft_cmp_ops operation) {
    expression("meta",
               [&] { message_.be32(NFTA_META_DREG, NFT_REG_1).be32(NFTA_META_KEY, NFT_META_PROTOCOL); });
    uint16_t value = htons(type);
    return compare(operation, std::as_bytes(std::span(&value, 1)));
  }

  Rule& other_than(nft_payload_bases base, uint32_t offset, Bytes value) {
    expression("payload", [&] {
      message_.be32(NFTA_PAYLOAD_DREG, NFT_REG_1)
          .be32(NFTA_PAYLOAD_BASE, base)
          .be32(NFTA_PAYLOAD_OFFSET, offset)
          .be32(NFTA_PAYLOAD_LEN, static_cast<uint32_t>(value.size()));
    });
    return compare(NFT_CMP_NEQ, value);
  }

 private:
  Rule& compare(nft_cmp_ops operation, Bytes value) {
    expression("cmp", [&] {
      message_.be32(NFTA_CMP_SREG, NFT_REG_1).be32(NFTA_CMP_OP, operation);
      message_.nest(NFTA_CMP_DATA, [&] { message_.bytes(NFTA_DATA_VALUE, value); });
    });
    return *this;
  }

  void expression(std::string_view name, const std::function<void()>& data) {
    message_.nest(NFTA_LIST_ELEM, [&] {
      message_.string(NFTA_EXPR_NAME, name);
      message_.nest(NFTA_EXPR_DATA, data);
    });
  }

  Message& message_;
  std::string comment_;
};

// What tells one rule from another in the kernel.
std::string comment(const GuardedPort& port, std::string_view what) {
  return fmt::format("rayctl: {} but {} {}", what, to_string(port.address), to_string(port.mac));
}

constexpr Mac broadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

struct Check {
  std::string_view what;
  std::function<void(Rule&)> conditions;
};

// In their order; each drops what meets its conditions.
std::vector<Check> checks(const GuardedPort& port) {
  Bytes mac = std::as_bytes(std::span(port.mac.bytes)), all = std::as_bytes(std::span(broadcast.bytes));
  Bytes address = std::as_bytes(std::span(port.address.bytes.data(), port.address.size()));
  std::vector<Check> list = {
      {"no frame", [=](Rule& r) { r.other_than(NFT_PAYLOAD_LL_HEADER, source_mac_offset, mac); }},
      {"no packet",
       [=](Rule& r) {
         r.protocol(ETH_P_IP, NFT_CMP_EQ).other_than(NFT_PAYLOAD_NETWORK_HEADER, ip_source_offset, address);
       }},
      {"no ARP",
       [=](Rule& r) {
         r.protocol(ETH_P_ARP, NFT_CMP_EQ).other_than(NFT_PAYLOAD_NETWORK_HEADER, arp_sender_offset, address);
       }},
      {"neither IPv4 nor ARP",
       [](Rule& r) { r.protocol(ETH_P_IP, NFT_CMP_NEQ).protocol(ETH_P_ARP, NFT_CMP_NEQ); }},
  };
  if (!port.bridge) return list;
  Bytes bridge = std::as_bytes(std::span(port.bridge->bytes));
  list.push_back(
      {"no packet past the bridge", [=](Rule& r) {
         r.protocol(ETH_P_IP, NFT_CMP_EQ).other_than(NFT_PAYLOAD_LL_HEADER, target_mac_offset, bridge);
       }});
  list.push_back({"no ARP past the bridge", [=](Rule& r) {
                    r.protocol(ETH_P_ARP, NFT_CMP_EQ)
                        .other_than(NFT_PAYLOAD_LL_HEADER, target_mac_offset, bridge)
                        .other_than(NFT_PAYLOAD_LL_HEADER, target_mac_offset, all);
                  }});
  return list;
}

void port_messages(std::vector<Message>& messages, const GuardedPort& port) {
  Message& chain = messages.emplace_back(nft_message(NFT_MSG_NEWCHAIN, NFPROTO_NETDEV, NLM_F_CREATE));
  chain.string(NFTA_CHAIN_TABLE, node_table_name).string(NFTA_CHAIN_NAME, port.link);
  chain.nest(NFTA_CHAIN_HOOK, [&] {
    chain.be32(NFTA_HOOK_HOOKNUM, NF_NETDEV_INGRESS)
        .be32(NFTA_HOOK_PRIORITY, 0)
        .string(NFTA_HOOK_DEV, port.link);
  });
  chain.be32(NFTA_CHAIN_POLICY, NF_ACCEPT).string(NFTA_CHAIN_TYPE, "filter");
  for (const Check& check : checks(port))
    Rule(messages, port.link, comment(port, check.what)).put(check.conditions);
}

Message table_message(uint16_t type, uint16_t flags) {
  Message message = nft_message(type, NFPROTO_NETDEV, flags);
  message.string(NFTA_TABLE_NAME, node_table_name);
  return message;
}

using Found = std::multiset<std::pair<std::string, std::string>>;  // link, comment

Found found_rules(Netlink& netfilter) {
  Found found;
  for (const FoundRule& rule : list_rules(netfilter, NFPROTO_NETDEV, std::string(node_table_name)))
    found.insert({rule.chain, rule.comment});
  return found;
}

}  // namespace

bool apply_port_guard(Netlink& netfilter, const std::vector<GuardedPort>& ports) {
  Found wanted;
  for (const GuardedPort& port : ports)
    for (const Check& check : checks(port)) wanted.insert({port.link, comment(port, check.what)});
  if (found_rules(netfilter) == wanted) return false;
  std::vector<Message> messages;
  messages.push_back(table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE));  // so that the deletion never fails
  messages.push_back(table_message(NFT_MSG_DELTABLE, 0));
  messages.push_back(table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE));
  for (const GuardedPort& port : ports) port_messages(messages, port);
  Outcome outcome = netfilter.attempt_batch(messages, nullptr);
  if (outcome.code == EOPNOTSUPP || outcome.code == ENOENT)
    throw Error(
        "cannot guard the containers' links: this kernel lacks a part of nftables (CONFIG_NF_TABLES_NETDEV; "
        "try: "
        "modprobe nf_tables)");
  if (outcome.code)
    throw SysError(outcome.code, "cannot guard the containers' links (nftables table netdev rayctl)");
  return true;
}

void remove_port_guard(Netlink& netfilter) {
  std::vector<Message> messages;
  messages.push_back(table_message(NFT_MSG_DELTABLE, 0));
  Outcome outcome = netfilter.attempt_batch(messages, nullptr);
  if (outcome.code && outcome.code != ENOENT && outcome.code != EOPNOTSUPP)
    throw SysError(outcome.code, "cannot delete nftables table 'netdev rayctl'");
}

}  // namespace rayctl::net
