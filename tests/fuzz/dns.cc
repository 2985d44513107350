// DNS messages from containers, and answers from whoever can reach an upstream's port.
#include <cstdlib>

#include "net/dns_message.h"
#include "net/dns_table.h"
#include "net/dns_zone.h"

using namespace rayctl;
using namespace rayctl::net;

namespace {

DnsTable make_table() {
  DnsTable table;
  table.pools = {parse_subnet("10.64.0.0/12"), parse_subnet("fd00::/8")};
  for (uint32_t i = 0; i < 60; ++i) add_name(table, "wk", ipv4(0x0a400002 + i));
  add_name(table, "head", parse_address("10.64.0.2"));
  add_name(table, "six", parse_address("fd00::2"));
  return table;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const DnsTable table = make_table();
  Bytes bytes{reinterpret_cast<const std::byte*>(data), size};
  DnsIncoming incoming = parse_dns_query(bytes);
  if (incoming.kind == DnsIncoming::Kind::silent) return 0;
  const DnsQuery& query = incoming.query;
  std::minstd_rand shuffle(1);
  std::optional<DnsReply> reply = DnsReply{incoming.problem};
  if (incoming.kind == DnsIncoming::Kind::query) reply = answer_from_table(table, query, shuffle);
  if (reply) {
    std::string text = write_dns_reply(query, *reply, query.udp_size);
    if (text.size() > query.udp_size || dns_id(text) != query.id) abort();
    // What we write is an answer, and an answer is never answered.
    if (parse_dns_query(as_bytes(text)).kind != DnsIncoming::Kind::silent) abort();
  }
  std::string_view answer = as_text(bytes);
  if (answers_query(answer, query.id, query.question)) {
    std::string cut = truncate_dns_answer(answer, query.question);
    if (cut.size() != dns_header_size + query.question.size() || !dns_truncated(cut)) abort();
    dns_code(answer);
  }
  return 0;
}
