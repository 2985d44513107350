// What the table says to a query: a pure function.
#pragma once

#include <optional>
#include <random>

#include "net/dns_message.h"
#include "net/dns_table.h"

namespace rayctl::net {

constexpr uint32_t dns_negative_ttl = 5;  // seconds that "no such name" may be kept

// The reply, or nothing when the query is for others to answer (forward it). Several addresses come in an
// order that `shuffle` draws. Never silence: names of the zone and of the pools always get a reply.
//
// `visible`, sorted, are the only names of the zone that exist for the one who asks; null: all. Nobody learns
// of the others, nor of their addresses' names.
//
// A name without a dot that the zone has is answered too (`head` as `head.q`), so that programs that bypass
// resolv.conf's search list find it.
std::optional<DnsReply> answer_from_table(const DnsTable& table, const DnsQuery& query,
                                          std::minstd_rand& shuffle,
                                          const std::vector<std::string>* visible = nullptr);

}  // namespace rayctl::net
