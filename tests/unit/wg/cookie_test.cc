#include "wg/cookie.h"

#include "unit/wg/vectors.h"

using namespace rayctl;
using namespace rayctl::wg;
using namespace std::chrono_literals;

namespace {

const PublicKey responder = DhKey(fixed_secret("responder")).public_key();
const Raw source = from_hex("c0000207ca6c");

}  // namespace

TEST_CASE("MACs and cookie replies agree with the vectors", "[wg]") {
  const Raw& golden = vector_of("chacha.initiation");
  CookieChecker checker(responder);
  CHECK(checker.mac1_fits(golden));
  Raw message = golden;
  std::fill(message.end() - macs_size, message.end(), 0);
  CookieMaker maker(responder);
  maker.add_macs(message, 0s);
  CHECK(to_hex(ByteView(message).last(macs_size).first(16)) ==
        to_hex(ByteView(golden).last(macs_size).first(16)));
  CHECK(to_hex(ByteView(message).last(16)) == std::string(32, '0'));  // no cookie, no MAC2

  CHECK(maker.consume(array_of<cookie_size>(vector_of("chacha.cookie_reply")), 1s));
  CHECK_FALSE(
      maker.consume(array_of<cookie_size>(vector_of("chacha.cookie_reply")), 1s));  // once per message
  message = golden;
  std::fill(message.end() - macs_size, message.end(), 0);
  maker.add_macs(message, 2s);
  CHECK(message == golden);
}

TEST_CASE("a cookie is bound to its source and lives two minutes", "[wg]") {
  CookieChecker checker(responder);
  CookieMaker maker(responder);
  Raw message = vector_of("chacha.initiation");
  maker.add_macs(message, 10s);
  CHECK_FALSE(checker.mac2_fits(message, source, 10s));
  REQUIRE(maker.consume(checker.reply(message, source, 10s), 10s));
  maker.add_macs(message, 11s);
  CHECK(checker.mac1_fits(message));
  CHECK(checker.mac2_fits(message, source, 11s));
  CHECK_FALSE(checker.mac2_fits(message, from_hex("c0000207ca6d"), 11s));  // another port
  CHECK_FALSE(checker.mac2_fits(message, source, 131s));                   // the secret has changed
  message[20] ^= 1;
  CHECK_FALSE(checker.mac1_fits(message));
  std::fill(message.end() - macs_size, message.end(), 0);
  maker.add_macs(message, 126s);  // the cookie is thrown away in time
  CHECK(to_hex(ByteView(message).last(16)) == std::string(32, '0'));
}

TEST_CASE("a forged cookie reply is not taken", "[wg]") {
  CookieMaker maker(responder);
  CookieReply reply = array_of<cookie_size>(vector_of("chacha.cookie_reply"));
  CHECK_FALSE(maker.consume(reply, 0s));  // nothing was sent
  Raw message = vector_of("chacha.initiation");
  maker.add_macs(message, 0s);
  for (size_t i = 8; i < cookie_size; ++i) {
    CookieReply bad = reply;
    bad[i] ^= 1;
    CHECK_FALSE(maker.consume(bad, 0s));
  }
}

TEST_CASE("a source has five messages at once and twenty a second", "[wg]") {
  SourceLimiter limiter;
  Raw a = from_hex("c0000201"), b = from_hex("c0000202");
  auto allowed = [&](const Raw& from, Time now, int tries) {
    int n = 0;
    for (int i = 0; i < tries; ++i) n += limiter.allow(from, now);
    return n;
  };
  CHECK(allowed(a, 100s, 100) == 5);
  CHECK(allowed(b, 100s, 1) == 1);
  CHECK(allowed(a, 100s + 100ms, 100) == 2);
  CHECK(allowed(a, 200s, 100) == 5);
  // one /64 of IPv6 is one source
  Raw six = from_hex("20010db8000000000000000000000001"),
      neighbour = from_hex("20010db80000000000000000000000ff");
  CHECK(allowed(six, 100s, 3) == 3);
  CHECK(allowed(neighbour, 100s, 100) == 2);
}
