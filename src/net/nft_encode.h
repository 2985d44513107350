// Rules as the kernel's nftables expressions.
#pragma once

#include "net/netlink.h"
#include "net/nft.h"

namespace rayctl::net {

// A message of the nftables subsystem for `family` (NFPROTO_…), e.g. NFT_MSG_NEWRULE.
Message nft_message(uint16_t type, uint8_t family, uint16_t flags);

// NFTA_RULE_EXPRESSIONS and NFTA_RULE_USERDATA of `rule`. In an `ip` table the family isn't tested again.
void encode_rule(Message& message, uint8_t family, const NftRule& rule);

// The text of a rule's expressions as the kernel has them (nft_decode.cc).
std::string decode_rule(Attributes expressions);

std::string parse_comment(Bytes userdata);  // "" when there is none

}  // namespace rayctl::net
