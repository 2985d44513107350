#include "wg/tunnel_table.h"

#include "base/error.h"
#include "unit/wg/vectors.h"

using namespace rayctl;
using namespace rayctl::wg;
using Catch::Matchers::Contains;
using namespace std::chrono_literals;

namespace {

TunnelTable sample() {
  TunnelTable table;
  table.version = 7;
  table.interface = "rayctl.wg";
  table.netns = "/run/netns/x";
  table.mtu = 1420;
  table.private_key = fixed_secret("initiator");
  table.listen_port = 4711;
  table.mark = 0x5242;
  table.rekey_after = 30s;
  TunnelPeer a;
  a.public_key = DhKey(fixed_secret("responder")).public_key();
  a.preshared_key = fixed_secret("preshared");
  a.endpoint = parse_endpoint("192.0.2.7:51820");
  a.allowed_ips = {net::parse_subnet("10.64.0.64/26"), net::parse_subnet("fd00::/64")};
  a.keepalive = 25s;
  a.cipher = Cipher::aes256gcm;
  TunnelPeer b;
  b.public_key = DhKey(fixed_secret("other")).public_key();
  table.peers = {a, b};
  return table;
}

std::string changed(const std::string& from, const std::string& to) {
  std::string text = tunnel_table_text(sample());
  size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a tunnel table survives its text", "[wg]") {
  CHECK(parse_tunnel_table(tunnel_table_text(sample()), "t") == sample());
}

TEST_CASE("a tunnel table that can't be used says why", "[wg]") {
  auto parse = [](const std::string& text) { return parse_tunnel_table(text, "t"); };
  CHECK_THROWS_WITH(parse(changed("\"mtu\"", "\"mut\"")), Contains("mut"));
  CHECK_THROWS_WITH(parse(changed("1420", "100")), "cannot use 't.mtu': 100 is not 576 to 65455");
  CHECK_THROWS_WITH(parse(changed("4711", "0")), "cannot use 't.listen_port': 0 is not 1 to 65535");
  CHECK_THROWS_WITH(parse(changed("\"rekey_after\": 30", "\"rekey_after\": 300")),
                    "cannot use 't.rekey_after': 300 is not 5 to 120");
  CHECK_THROWS_WITH(parse(changed("rayctl.wg", "a/b")), Contains("not a link's name"));
  CHECK_THROWS_WITH(parse(changed("rayctl.wg", "sixteen-letters.")), Contains("not a link's name"));
  CHECK_THROWS_WITH(parse(changed("192.0.2.7:51820", "192.0.2.7")), Contains("ADDRESS:PORT"));
  CHECK_THROWS_WITH(parse(changed("aes256gcm", "rot13")), Contains("chacha20poly1305 and aes256gcm"));
  CHECK_THROWS_WITH(
      parse(changed(key_text(sample().peers[1].public_key), key_text(sample().peers[0].public_key))),
      Contains("our own or another peer's"));
  CHECK_THROWS_WITH(parse(changed(key_text(sample().peers[1].public_key),
                                  key_text(DhKey(fixed_secret("initiator")).public_key()))),
                    Contains("our own or another peer's"));
  CHECK_THROWS_WITH(parse(changed("fd00::/64", "10.64.0.64/26")), Contains("another peer has 10.64.0.64/26"));
  // no key shows in an error
  std::string secret = key_text(fixed_secret("initiator").bytes);
  try {
    parse(changed(secret, secret.substr(1)));
    FAIL("it was taken");
  } catch (const Error& error) {
    CHECK_THAT(error.message(), Contains("cannot use the t.private_key: it is not 32 bytes"));
    CHECK_THAT(error.message(), !Contains(secret.substr(5, 20)));
  }
}

TEST_CASE("endpoints are read and written", "[wg]") {
  for (const char* text : {"192.0.2.7:51820", "[2001:db8::7]:1"})
    CHECK(to_string(parse_endpoint(text)) == text);
  for (const char* text :
       {"192.0.2.7:0", "192.0.2.7:65536", "2001:db8::7:1", "[192.0.2.7]:1", ":1", "x:1", "1.2.3.4:1x"})
    CHECK_THROWS_AS(parse_endpoint(text), Error);
}
