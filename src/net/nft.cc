#include "net/nft.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "net/nft_encode.h"

namespace rayctl::net {

namespace {

constexpr uint32_t ipv4_addr_type = 7, ipv6_addr_type = 8;  // nft's data types, for its listings
constexpr size_t elements_per_message = 1000;               // an attribute holds 64 KiB

uint16_t message_type(const Answer& answer) {
  return answer.type & 0xff;
}

void set_messages(std::vector<Message>& messages, const std::string& table, const NftSet& set, uint32_t id) {
  Message& head = messages.emplace_back(nft_message(NFT_MSG_NEWSET, NFPROTO_INET, NLM_F_CREATE));
  bool v4 = set.family == AF_INET;
  head.string(NFTA_SET_TABLE, table)
      .string(NFTA_SET_NAME, set.name)
      .be32(NFTA_SET_KEY_TYPE, v4 ? ipv4_addr_type : ipv6_addr_type)
      .be32(NFTA_SET_KEY_LEN, v4 ? 4 : 16)
      .be32(NFTA_SET_ID, id);
  for (size_t begin = 0; begin < set.elements.size(); begin += elements_per_message) {
    size_t end = std::min(set.elements.size(), begin + elements_per_message);
    Message& message = messages.emplace_back(nft_message(NFT_MSG_NEWSETELEM, NFPROTO_INET, NLM_F_CREATE));
    message.string(NFTA_SET_ELEM_LIST_TABLE, table)
        .string(NFTA_SET_ELEM_LIST_SET, set.name)
        .be32(NFTA_SET_ELEM_LIST_SET_ID, id);
    message.nest(NFTA_SET_ELEM_LIST_ELEMENTS, [&] {
      for (size_t i = begin; i < end; ++i)
        message.nest(NFTA_LIST_ELEM, [&] {
          message.nest(NFTA_SET_ELEM_KEY, [&] { message.address(NFTA_DATA_VALUE, set.elements[i]); });
        });
    });
  }
}

Message table_message(uint16_t type, uint16_t flags, const std::string& name) {
  Message message = nft_message(type, NFPROTO_INET, flags);
  message.string(NFTA_TABLE_NAME, name);
  return message;
}

std::vector<Message> table_messages(const NftTable& table) {
  std::vector<Message> messages;
  // Made first, so that the deletion never fails: a table that is there loses all it has.
  messages.push_back(table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE, table.name));
  messages.push_back(table_message(NFT_MSG_DELTABLE, 0, table.name));
  messages.push_back(table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE, table.name));
  uint32_t id = 0;
  for (const NftSet& set : table.sets) set_messages(messages, table.name, set, ++id);
  for (const NftChain& chain : table.chains) {
    Message& message = messages.emplace_back(nft_message(NFT_MSG_NEWCHAIN, NFPROTO_INET, NLM_F_CREATE));
    message.string(NFTA_CHAIN_TABLE, table.name).string(NFTA_CHAIN_NAME, chain.name);
    if (!chain.hook) continue;
    message.nest(NFTA_CHAIN_HOOK, [&] {
      message.be32(NFTA_HOOK_HOOKNUM, static_cast<uint32_t>(*chain.hook))
          .be32(NFTA_HOOK_PRIORITY, static_cast<uint32_t>(chain.priority));
    });
    message.be32(NFTA_CHAIN_POLICY, NF_ACCEPT)
        .string(NFTA_CHAIN_TYPE, chain.type == ChainType::nat ? "nat" : "filter");
  }
  for (const NftChain& chain : table.chains)
    for (const NftRule& rule : chain.rules) {
      Message& message =
          messages.emplace_back(nft_message(NFT_MSG_NEWRULE, NFPROTO_INET, NLM_F_CREATE | NLM_F_APPEND));
      message.string(NFTA_RULE_TABLE, table.name).string(NFTA_RULE_CHAIN, chain.name);
      encode_rule(message, NFPROTO_INET, rule);
    }
  return messages;
}

}  // namespace

std::vector<std::string> list_sets(Netlink& netfilter, const std::string& table) {
  Message message = nft_message(NFT_MSG_GETSET, NFPROTO_INET, 0);
  message.string(NFTA_SET_TABLE, table);
  std::vector<std::string> names;
  netfilter.dump(message, "cannot list nftables sets", [&](const Answer& answer) {
    Attributes attributes = answer.attributes(sizeof(nfgenmsg));
    if (message_type(answer) == NFT_MSG_NEWSET && attributes.string(NFTA_SET_TABLE) == table)
      names.push_back(attributes.string(NFTA_SET_NAME).value_or(""));
  });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<Address> kernel_set(Netlink& netfilter, const std::string& table, const std::string& set) {
  Message message = nft_message(NFT_MSG_GETSETELEM, NFPROTO_INET, 0);
  message.string(NFTA_SET_ELEM_LIST_TABLE, table).string(NFTA_SET_ELEM_LIST_SET, set);
  std::vector<Address> found;
  netfilter.dump(message, "cannot list nftables elements", [&](const Answer& answer) {
    if (message_type(answer) != NFT_MSG_NEWSETELEM) return;
    Attributes elements = answer.attributes(sizeof(nfgenmsg)).nested(NFTA_SET_ELEM_LIST_ELEMENTS);
    for (Attribute element; elements.next(element);)
      if (auto address = Attributes(element.value).nested(NFTA_SET_ELEM_KEY).address(NFTA_DATA_VALUE))
        found.push_back(*address);
  });
  std::sort(found.begin(), found.end());
  return found;
}

namespace {

bool agrees(Netlink& netfilter, const NftTable& table) {
  auto tables = list_tables(netfilter);
  if (std::find(tables.begin(), tables.end(), table.name) == tables.end()) return false;
  std::set<std::string> chains;
  for (const FoundChain& chain : list_chains(netfilter))
    if (chain.family == NFPROTO_INET && chain.table == table.name) chains.insert(chain.name);
  std::map<std::string, std::vector<std::string>> found;
  for (const FoundRule& rule : list_rules(netfilter, NFPROTO_INET, table.name))
    found[rule.chain].push_back(rule.comment);
  for (const NftChain& chain : table.chains) {
    if (!chains.erase(chain.name)) return false;
    std::vector<std::string> tags;
    for (const NftRule& rule : chain.rules) tags.push_back(rule_tag(rule));
    if (found[chain.name] != tags) return false;
  }
  if (!chains.empty()) return false;
  try {
    return std::all_of(table.sets.begin(), table.sets.end(), [&](const NftSet& set) {
      return kernel_set(netfilter, table.name, set.name) == set.elements;
    });
  } catch (const SysError&) {  // a set is gone
    return false;
  }
}

// A rule without a condition that ends a packet's way.
bool rejects_all(Attributes expressions) {
  bool rejects = false;
  for (Attribute element; expressions.next(element);) {
    Attributes expression(element.value);
    std::string name = expression.string(NFTA_EXPR_NAME).value_or("");
    Attributes data = expression.nested(NFTA_EXPR_DATA);
    if (name == "counter" || name == "log" || name == "limit") continue;
    if (name == "reject") {
      rejects = true;
    } else if (name == "immediate") {
      auto code = data.nested(NFTA_IMMEDIATE_DATA).nested(NFTA_DATA_VERDICT).be32(NFTA_VERDICT_CODE);
      if (code != uint32_t{NF_DROP}) return false;
      rejects = true;
    } else if (name == "target") {  // iptables-nft
      if (data.string(NFTA_TARGET_NAME).value_or("") != "REJECT") return false;
      rejects = true;
    } else {
      return false;
    }
  }
  return rejects;
}

}  // namespace

std::vector<std::string> list_tables(Netlink& netfilter) {
  Message message = nft_message(NFT_MSG_GETTABLE, NFPROTO_INET, 0);
  std::vector<std::string> names;
  netfilter.dump(message, "cannot list nftables tables", [&](const Answer& answer) {
    auto header = answer.fixed<nfgenmsg>();
    if (message_type(answer) != NFT_MSG_NEWTABLE || !header || header->nfgen_family != NFPROTO_INET) return;
    names.push_back(answer.attributes(sizeof(nfgenmsg)).string(NFTA_TABLE_NAME).value_or(""));
  });
  return names;
}

std::vector<FoundChain> list_chains(Netlink& netfilter) {
  Message message = nft_message(NFT_MSG_GETCHAIN, NFPROTO_UNSPEC, 0);
  std::vector<FoundChain> chains;
  netfilter.dump(message, "cannot list nftables chains", [&](const Answer& answer) {
    auto header = answer.fixed<nfgenmsg>();
    if (message_type(answer) != NFT_MSG_NEWCHAIN || !header) return;
    Attributes attributes = answer.attributes(sizeof(nfgenmsg));
    FoundChain chain{header->nfgen_family, attributes.string(NFTA_CHAIN_TABLE).value_or(""),
                     attributes.string(NFTA_CHAIN_NAME).value_or(""), std::nullopt, false};
    if (auto hook = attributes.nested(NFTA_CHAIN_HOOK).be32(NFTA_HOOK_HOOKNUM))
      chain.hook = static_cast<Hook>(*hook);
    chain.drops = attributes.be32(NFTA_CHAIN_POLICY) == uint32_t{NF_DROP};
    chains.push_back(chain);
  });
  return chains;
}

std::vector<FoundRule> list_rules(Netlink& netfilter, uint8_t family, const std::string& table) {
  Message message = nft_message(NFT_MSG_GETRULE, family, 0);
  message.string(NFTA_RULE_TABLE, table);
  std::vector<FoundRule> rules;
  netfilter.dump(message, "cannot list nftables rules", [&](const Answer& answer) {
    auto header = answer.fixed<nfgenmsg>();
    if (message_type(answer) != NFT_MSG_NEWRULE || !header) return;
    Attributes attributes = answer.attributes(sizeof(nfgenmsg));
    FoundRule rule{header->nfgen_family, attributes.string(NFTA_RULE_TABLE).value_or(""),
                   attributes.string(NFTA_RULE_CHAIN).value_or("")};
    if (rule.table != table) return;
    if (auto handle = attributes.find(NFTA_RULE_HANDLE); handle && handle->size() == 8) {
      std::memcpy(&rule.handle, handle->data(), 8);
      rule.handle = be64toh(rule.handle);
    }
    rule.comment = parse_comment(attributes.find(NFTA_RULE_USERDATA).value_or(Bytes{}));
    rule.rejects_all = rejects_all(attributes.nested(NFTA_RULE_EXPRESSIONS));
    rules.push_back(rule);
  });
  return rules;
}

bool apply_table(Netlink& netfilter, const NftTable& table) {
  if (agrees(netfilter, table)) return false;
  std::vector<Message> messages = table_messages(table);
  size_t failed = 0;
  Outcome outcome = netfilter.attempt_batch(messages, &failed);
  if (outcome.code == EOPNOTSUPP || outcome.code == EPROTONOSUPPORT)
    throw Error(
        "cannot set up nftables table 'inet {}': this kernel lacks a part of nftables (step {} of {}; "
        "CONFIG_NF_TABLES_INET, CONFIG_NFT_MASQ, CONFIG_NFT_CT)",
        table.name, failed + 1, messages.size());
  if (outcome.code) {
    SysError error(outcome.code, "cannot set up nftables table 'inet {}' (step {} of {})", table.name,
                   failed + 1, messages.size());
    if (!outcome.text.empty()) error.hint("{}", outcome.text);
    throw error;
  }
  return true;
}

bool delete_table(Netlink& netfilter, const std::string& name) {
  std::vector<Message> messages;
  messages.push_back(table_message(NFT_MSG_DELTABLE, 0, name));
  Outcome outcome = netfilter.attempt_batch(messages, nullptr);
  if (outcome.code == ENOENT) return false;
  if (outcome.code) throw SysError(outcome.code, "cannot delete nftables table 'inet {}'", name);
  return true;
}

Outcome insert_rule(Netlink& netfilter, const FoundChain& chain, const NftRule& rule) {
  std::vector<Message> messages;
  Message& message = messages.emplace_back(nft_message(NFT_MSG_NEWRULE, chain.family, NLM_F_CREATE));
  message.string(NFTA_RULE_TABLE, chain.table).string(NFTA_RULE_CHAIN, chain.name);
  encode_rule(message, chain.family, rule);
  return netfilter.attempt_batch(messages, nullptr);
}

void delete_rule(Netlink& netfilter, const FoundRule& rule) {
  std::vector<Message> messages;
  Message& message = messages.emplace_back(nft_message(NFT_MSG_DELRULE, rule.family, 0));
  message.string(NFTA_RULE_TABLE, rule.table)
      .string(NFTA_RULE_CHAIN, rule.chain)
      .be64(NFTA_RULE_HANDLE, rule.handle);
  Outcome outcome = netfilter.attempt_batch(messages, nullptr);
  if (outcome.code && outcome.code != ENOENT)
    throw SysError(outcome.code, "cannot delete a rule of nftables chain '{} {}'", rule.table, rule.chain);
}

}  // namespace rayctl::net
