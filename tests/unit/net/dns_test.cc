#include <catch2/catch.hpp>
#include <set>

#include "base/error.h"
#include "net/dns_message.h"
#include "net/dns_table.h"
#include "net/dns_zone.h"

using namespace rayctl;
using namespace rayctl::net;
using Catch::Matchers::Contains;
using namespace std::string_literals;

namespace {

std::string header(uint16_t flags, uint8_t questions, uint8_t additional = 0) {
  return "\x12\x34"s + static_cast<char>(flags >> 8) + static_cast<char>(flags & 0xff) + '\0' +
         static_cast<char>(questions) + "\0\0\0\0\0"s + static_cast<char>(additional);
}

std::string question(const std::string& name, uint16_t type, uint8_t klass = 1) {
  return encode_dns_name(name) + static_cast<char>(type >> 8) + static_cast<char>(type & 0xff) + '\0' +
         static_cast<char>(klass);
}

std::string opt(uint16_t size, uint8_t version = 0) {
  return "\0\0\x29"s + static_cast<char>(size >> 8) + static_cast<char>(size & 0xff) + '\0' +
         static_cast<char>(version) + "\0\0\0\0"s;
}

DnsQuery query(const std::string& name, DnsType type) {
  std::string bytes = header(0x0100, 1) + question(name, static_cast<uint16_t>(type));
  DnsIncoming incoming = parse_dns_query(as_bytes(bytes));
  REQUIRE(incoming.kind == DnsIncoming::Kind::query);
  return incoming.query;
}

DnsTable table() {
  DnsTable t;
  t.version = 7;
  t.pools = {parse_subnet("10.64.0.0/12")};
  add_name(t, "ray-ms-0", parse_address("10.64.0.2"));
  add_name(t, "head", parse_address("10.64.0.2"));
  add_name(t, "wk", parse_address("10.64.0.66"));
  add_name(t, "wk", parse_address("10.64.0.130"));
  add_name(t, "1.deep", parse_address("10.64.0.66"));
  return t;
}

std::optional<DnsReply> ask(const std::string& name, DnsType type) {
  std::minstd_rand shuffle(1);
  return answer_from_table(table(), query(name, type), shuffle);
}

DnsCode problem(const std::string& bytes) {
  DnsIncoming incoming = parse_dns_query(as_bytes(bytes));
  REQUIRE(incoming.kind == DnsIncoming::Kind::problem);
  return incoming.problem;
}

bool silent(const std::string& bytes) {
  return parse_dns_query(as_bytes(bytes)).kind == DnsIncoming::Kind::silent;
}

}  // namespace

TEST_CASE("queries are understood, with their question kept as it came", "[net]") {
  std::string bytes = header(0x0100, 1) + question("HeAd.q", 1);
  DnsIncoming incoming = parse_dns_query(as_bytes(bytes));
  REQUIRE(incoming.kind == DnsIncoming::Kind::query);
  CHECK(incoming.query.id == 0x1234);
  CHECK(incoming.query.name == "head.q");
  CHECK(incoming.query.question == question("HeAd.q", 1));
  CHECK(incoming.query.udp_size == 512);
  CHECK_FALSE(incoming.query.edns);
  for (auto [offered, taken] : {std::pair(100, 512), {1000, 1000}, {4096, 1232}}) {
    bytes = header(0x0100, 1, 1) + question("a.q", 1) + opt(static_cast<uint16_t>(offered));
    incoming = parse_dns_query(as_bytes(bytes));
    REQUIRE(incoming.kind == DnsIncoming::Kind::query);
    CHECK(incoming.query.edns);
    CHECK(incoming.query.udp_size == static_cast<size_t>(taken));
  }
}

TEST_CASE("what is no query gets the right refusal, or silence", "[net]") {
  CHECK(silent(""));
  CHECK(silent(header(0x0100, 1).substr(0, 11)));
  CHECK(silent(header(0x8180, 1) + question("a.q", 1)));  // an answer: replying would be a loop
  CHECK(problem(header(0x0100, 0)) == DnsCode::format_error);
  CHECK(problem(header(0x0100, 2) + question("a.q", 1) + question("b.q", 1)) == DnsCode::format_error);
  CHECK(problem(header(0x0100, 1) + "\xc0\x0c\0\1\0\1"s) == DnsCode::format_error);  // a pointer to itself
  CHECK(problem(header(0x0100, 1) + "\x05" + "ab") == DnsCode::format_error);
  CHECK(problem(header(0x0100, 1) + std::string(300, '\x3f')) == DnsCode::format_error);
  CHECK(problem(header(0x2800, 1) + question("a.q", 1)) == DnsCode::not_implemented);  // UPDATE
  CHECK(problem(header(0x0100, 1, 1) + question("a.q", 1) + opt(1232, 1)) == DnsCode::bad_version);
  CHECK(problem(header(0x0100, 1, 2) + question("a.q", 1) + opt(1232) + opt(1232)) == DnsCode::format_error);
  CHECK(problem(header(0x0100, 1, 1) + question("a.q", 1)) == DnsCode::format_error);  // counted, not there
}

TEST_CASE("every cut and every flipped byte of a query is survived", "[net]") {
  std::string bytes = header(0x0100, 1, 1) + question("ray-ms-0.q", 1) + opt(4096);
  for (size_t i = 0; i < bytes.size(); ++i) {
    parse_dns_query(as_bytes(bytes.substr(0, i)));
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = bytes;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      DnsIncoming incoming = parse_dns_query(as_bytes(flipped));
      std::minstd_rand shuffle(1);
      if (incoming.kind != DnsIncoming::Kind::query) continue;
      if (auto reply = answer_from_table(table(), incoming.query, shuffle))
        CHECK(write_dns_reply(incoming.query, *reply, 512).size() <= 512);
    }
  }
}

TEST_CASE("names of the zone are answered, never passed on", "[net]") {
  auto reply = ask("ray-ms-0.q", DnsType::a);
  REQUIRE(reply);
  CHECK(reply->authoritative);
  REQUIRE(reply->answers.size() == 1);
  CHECK(reply->answers[0].data == "\x0a\x40\x00\x02"s);
  CHECK(reply->answers[0].ttl <= 5);
  reply = ask("wk.q", DnsType::a);
  CHECK(reply->answers.size() == 2);
  CHECK(ask("head", DnsType::a)->answers.size() == 1);
  CHECK(ask("localhost", DnsType::aaaa)->answers.size() == 1);
  CHECK(ask("a.localhost", DnsType::a)->answers.size() == 1);
  CHECK(ask("q", DnsType::soa)->answers.size() == 1);

  reply = ask("ray-ms-0.q", DnsType::aaaa);  // musl takes NXDOMAIN here as the end of the search
  CHECK(reply->code == DnsCode::ok);
  CHECK(reply->answers.empty());
  REQUIRE(reply->authority.size() == 1);
  CHECK(reply->authority[0].type == DnsType::soa);
  CHECK(ask("ray-ms-0.q", static_cast<DnsType>(16))->code == DnsCode::ok);
  CHECK(ask("deep.q", DnsType::a)->code == DnsCode::ok);  // 1.deep.q is below it

  reply = ask("nobody.q", DnsType::a);
  CHECK(reply->code == DnsCode::no_such_name);
  REQUIRE(reply->authority.size() == 1);
  CHECK(reply->authority[0].ttl == 5);
  CHECK(ask("x.ray-ms-0.q", DnsType::a)->code == DnsCode::no_such_name);
}

TEST_CASE("names of others are passed on", "[net]") {
  CHECK_FALSE(ask("example.org", DnsType::a));
  CHECK_FALSE(ask("notq", DnsType::a));
  CHECK_FALSE(ask("headq", DnsType::a));
  CHECK_FALSE(ask("unknown", DnsType::a));
  CHECK_FALSE(ask("", DnsType::ns));
  CHECK_FALSE(ask("1.0.168.192.in-addr.arpa", DnsType::ptr));
  DnsQuery chaos = query("version.bind", static_cast<DnsType>(16));
  chaos.klass = 3;
  std::minstd_rand shuffle(1);
  CHECK(answer_from_table(table(), chaos, shuffle)->code == DnsCode::refused);
}

TEST_CASE("names that are to be absent are never passed on", "[net]") {
  DnsTable t = table();
  t.absent = {"metadata.google.internal"};
  std::minstd_rand shuffle(1);
  auto reply = answer_from_table(t, query("metadata.google.internal", DnsType::aaaa), shuffle);
  REQUIRE(reply);
  CHECK(reply->code == DnsCode::no_such_name);
  CHECK_FALSE(answer_from_table(t, query("google.internal", DnsType::a), shuffle));
}

TEST_CASE("reverse names of the pool are answered, never passed on", "[net]") {
  auto reply = ask("2.0.64.10.in-addr.arpa", DnsType::ptr);
  REQUIRE(reply);
  REQUIRE(reply->answers.size() == 1);
  CHECK(reply->answers[0].data == encode_dns_name("ray-ms-0.q"));
  CHECK(ask("2.0.64.10.in-addr.arpa", DnsType::a)->code == DnsCode::ok);
  reply = ask("9.9.64.10.in-addr.arpa", DnsType::ptr);
  CHECK(reply->code == DnsCode::no_such_name);
  CHECK(reply->authority.at(0).owner == "10.in-addr.arpa");
  CHECK_FALSE(ask("1.2.3.in-addr.arpa", DnsType::ptr));
  CHECK_FALSE(ask("1.2.3.x.in-addr.arpa", DnsType::ptr));
}

TEST_CASE("reverse names of IPv6 are answered from the pool alone", "[net]") {
  DnsTable t;
  t.pools = {parse_subnet("fd00:64::/32")};
  add_name(t, "six", parse_address("fd00:64::2"));
  std::string zeros;
  for (int i = 0; i < 23; ++i) zeros += "0.";
  std::string tail = zeros + "4.6.0.0.0.0.d.f.ip6.arpa";
  std::minstd_rand shuffle(1);
  auto reply = answer_from_table(t, query("2." + tail, DnsType::ptr), shuffle);
  REQUIRE(reply);
  REQUIRE(reply->answers.size() == 1);
  CHECK(reply->answers[0].type == DnsType::ptr);
  CHECK(reply->answers[0].data == encode_dns_name("six.q"));
  reply = answer_from_table(t, query("3." + tail, DnsType::ptr), shuffle);
  REQUIRE(reply);
  CHECK(reply->code == DnsCode::no_such_name);
  CHECK(reply->authority.at(0).owner == "4.6.0.0.0.0.d.f.ip6.arpa");
  tail.replace(tail.size() - std::string("d.f.ip6.arpa").size(), 1, "c");
  CHECK_FALSE(answer_from_table(t, query("2." + tail, DnsType::ptr), shuffle));  // not ours
}

TEST_CASE("a reply echoes the question's bytes and has what the checklist asks for", "[net]") {
  std::string asked = question("hEaD.Q", 28);
  DnsIncoming incoming = parse_dns_query(as_bytes(header(0x0110, 1, 1) + asked + opt(4096)));
  REQUIRE(incoming.kind == DnsIncoming::Kind::query);
  std::minstd_rand shuffle(1);
  DnsReply reply = *answer_from_table(table(), incoming.query, shuffle);
  std::string bytes = write_dns_reply(incoming.query, reply, 1232);
  CHECK(bytes.substr(12, asked.size()) == asked);
  CHECK(bytes.substr(0, 2) == "\x12\x34");
  CHECK(static_cast<uint8_t>(bytes[2]) == 0x85);  // QR, AA, RD
  CHECK(static_cast<uint8_t>(bytes[3]) == 0x90);  // RA, CD; NOERROR: there is no AAAA, but the name is there
  CHECK(bytes.substr(4, 8) == "\0\1\0\0\0\1\0\1"s);
  CHECK(bytes.substr(bytes.size() - 11) == opt(1232));
  std::string soa = bytes.substr(12 + asked.size(), bytes.size() - 11 - 12 - asked.size());
  CHECK(soa.substr(soa.size() - 4) == "\0\0\0\5"s);   // how long a negative answer may be kept
  for (uint16_t type : {2, 5, 15, 16, 33, 64, 65}) {  // NS, CNAME, MX, TXT, SRV, SVCB, HTTPS
    reply = *ask("head.q", static_cast<DnsType>(type));
    CHECK(reply.code == DnsCode::ok);
    CHECK(reply.answers.empty());
    CHECK(reply.authority.size() == 1);
  }
  for (uint8_t klass : {uint8_t{3}, uint8_t{4}, uint8_t{255}}) {
    incoming = parse_dns_query(as_bytes(header(0x0100, 1) + question("head.q", 1, klass)));
    REQUIRE(incoming.kind == DnsIncoming::Kind::query);
    CHECK(answer_from_table(table(), incoming.query, shuffle)->code == DnsCode::refused);
  }
  // BADVERS: its upper bits are in OPT
  incoming = parse_dns_query(as_bytes(header(0x0100, 1, 1) + question("head.q", 1) + opt(1232, 1)));
  bytes = write_dns_reply(incoming.query, {incoming.problem}, 512);
  CHECK((bytes[3] & 15) == 0);
  CHECK(bytes.substr(bytes.size() - 6) == "\1\0\0\0\0\0"s);
}

TEST_CASE("who sees some names only learns of no other", "[net]") {
  std::vector<std::string> visible{"head.q"};
  std::minstd_rand shuffle(1);
  auto asks = [&](const std::string& name, DnsType type) {
    return answer_from_table(table(), query(name, type), shuffle, &visible);
  };
  CHECK(asks("head.q", DnsType::a)->answers.size() == 1);
  CHECK(asks("wk.q", DnsType::a)->code == DnsCode::no_such_name);
  CHECK(asks("deep.q", DnsType::a)->code == DnsCode::no_such_name);  // nor that 1.deep.q is below it
  CHECK(asks("66.0.64.10.in-addr.arpa", DnsType::ptr)->code == DnsCode::no_such_name);
  CHECK(asks("2.0.64.10.in-addr.arpa", DnsType::ptr)->answers.at(0).data == encode_dns_name("head.q"));
  CHECK_FALSE(asks("wk", DnsType::a));
}

TEST_CASE("a label's members come in every order", "[net]") {
  std::minstd_rand shuffle(1);
  std::set<std::string> firsts;
  for (int i = 0; i < 50; ++i)
    firsts.insert(answer_from_table(table(), query("wk.q", DnsType::a), shuffle)->answers[0].data);
  CHECK(firsts.size() == 2);
}

TEST_CASE("an answer that is too long is cut between records and says so", "[net]") {
  DnsTable t = table();
  for (uint32_t i = 0; i < 200; ++i) add_name(t, "many", ipv4(0x0a400100 + i));
  std::minstd_rand shuffle(1);
  DnsQuery q = query("many.q", DnsType::a);
  DnsReply reply = *answer_from_table(t, q, shuffle);
  std::string udp = write_dns_reply(q, reply, 512), tcp = write_dns_reply(q, reply, 65535);
  CHECK(udp.size() <= 512);
  CHECK(dns_truncated(udp));
  CHECK_FALSE(dns_truncated(tcp));
  CHECK(tcp.size() > 200 * 16);
  CHECK(static_cast<uint8_t>(tcp[7]) == 200);
  CHECK((udp.size() - udp.find(q.question) - q.question.size()) % 16 == 0);
}

TEST_CASE("only the answer to what was asked is taken", "[net]") {
  std::string q = question("Example.Org", 1);
  std::string answer = header(0x8180, 1) + question("eXample.org", 1);
  CHECK(answers_query(answer, 0x1234, q));
  CHECK_FALSE(answers_query(answer, 0x1235, q));
  CHECK_FALSE(answers_query(header(0x0100, 1) + q, 0x1234, q));
  CHECK_FALSE(answers_query(header(0x8180, 1) + question("example.com", 1), 0x1234, q));
  CHECK_FALSE(answers_query(answer.substr(0, answer.size() - 1), 0x1234, q));
  std::string cut = truncate_dns_answer(answer + "rest", q);
  CHECK(dns_truncated(cut));
  CHECK(cut.size() == dns_header_size + q.size());
}

TEST_CASE("a table reads as it was written", "[net]") {
  DnsTable t = table();
  t.containers = {{"abc", "/run/rayctl/netns/abc"}};
  t.absent = {"metadata.google.internal"};
  t.upstreams = {"127.0.0.1#5353"};
  CHECK(parse_dns_table(dns_table_text(t), "table.json") == t);
  CHECK_THROWS_WITH(parse_dns_table(R"({"version": 1, "nmes": {}})", "table.json"), Contains("nmes"));
  CHECK_THROWS_WITH(parse_dns_table(R"({"version": 1, "names": {"a b.q": []}})", "table.json"),
                    Contains("cannot use name 'a b.q'"));
  CHECK_THROWS_WITH(parse_dns_table(R"({"version": 1, "names": {"a..q": []}})", "table.json"),
                    Contains("each part has 1 to 63 characters"));
  CHECK_THROWS_WITH(parse_dns_table(R"({"version": 1, "ttl": 99999})", "table.json"), Contains("ttl"));
  CHECK_THROWS_AS(parse_dns_table(R"({"version": 1, "upstreams": ["x"]})", "table.json"), Error);
  CHECK_THROWS_AS(add_name(t, "UPPER", parse_address("10.64.0.2")), Error);
}
