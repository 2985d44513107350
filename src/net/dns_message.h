// DNS messages (RFC 1035, EDNS0 of RFC 6891): queries parsed within bounds, answers written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/io.h"
#include "net/address.h"

namespace rayctl::net {

enum class DnsType : uint16_t { a = 1, ns = 2, soa = 6, ptr = 12, aaaa = 28, opt = 41, any = 255 };
enum class DnsCode : uint16_t {
  ok = 0,
  format_error = 1,
  server_failure = 2,
  no_such_name = 3,
  not_implemented = 4,
  refused = 5,
  bad_version = 16
};

constexpr size_t dns_header_size = 12;
constexpr size_t dns_message_limit = 65535;
constexpr size_t dns_plain_udp_size = 512;  // without EDNS0
constexpr size_t dns_edns_udp_size = 1232;  // fits every path unfragmented

// What a client asks.
struct DnsQuery {
  uint16_t id = 0;
  uint16_t opcode = 0;  // copied into the reply
  bool recursion_desired = false;
  bool checking_disabled = false;
  std::string question = {};  // its bytes as they came: echoed, so that 0x20 case survives
  std::string name = {};      // lower case, no final dot; a byte that no host name has is "\DDD"
  uint16_t type = 0, klass = 0;
  bool edns = false;
  size_t udp_size = dns_plain_udp_size;  // what the client takes, within 512 … 1232

  bool is(DnsType t) const { return type == static_cast<uint16_t>(t); }
};

// A message that came from a client: a query, or what to say to it instead; `silent`: not even that (an
// answer, or too short for a header).
struct DnsIncoming {
  enum class Kind { query, problem, silent } kind = Kind::silent;
  DnsCode problem = DnsCode::ok;
  DnsQuery query = {};  // for a problem: as far as it was understood
};
DnsIncoming parse_dns_query(Bytes message);

struct DnsRecord {
  std::string owner = {};  // empty: the question's name
  DnsType type = DnsType::a;
  uint32_t ttl = 0;
  std::string data = {};
};

struct DnsReply {
  DnsCode code = DnsCode::ok;
  bool authoritative = false;
  std::vector<DnsRecord> answers = {};
  std::vector<DnsRecord> authority = {};
};

// The bytes of `reply`, at most `limit`: records that don't fit are left out and TC says so.
std::string write_dns_reply(const DnsQuery& query, const DnsReply& reply, size_t limit);

std::string encode_dns_name(std::string_view name);  // "a.q" -> 1 'a' 1 'q' 0; must be a valid host name
DnsRecord address_record(const Address& address, uint32_t ttl);

// --- forwarding: messages stay as they are but for the id ---

void set_dns_id(std::string& message, uint16_t id);
uint16_t dns_id(std::string_view message);
DnsCode dns_code(std::string_view message);  // of an answer; the header must be there
bool dns_truncated(std::string_view message);

// `answer` answers the query with this id and question (RFC 5452: id and question must agree).
bool answers_query(std::string_view answer, uint16_t id, std::string_view question);

// An answer larger than the client takes: header and question alone, with TC.
std::string truncate_dns_answer(std::string_view answer, std::string_view question);

}  // namespace rayctl::net
