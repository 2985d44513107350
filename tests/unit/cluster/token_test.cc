#include "cluster/token.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using std::chrono::seconds;

namespace {

const std::string pin(42, 'B');
const std::string good_pin = pin + "A", good_secret = std::string(42, 'x') + "A";
const WallTime noon{seconds(1'800'000'000)};

std::string error_of(const std::string& text) {
  try {
    parse_token(text);
    return "";
  } catch (const Error& e) {
    return e.message();
  }
}

}  // namespace

TEST_CASE("bytes as base64url and hex", "[encoding]") {
  CHECK(base64url("") == "");
  CHECK(base64url("f") == "Zg");
  CHECK(base64url("fo") == "Zm8");
  CHECK(base64url("foo") == "Zm9v");
  CHECK(base64url("\xfb\xff") == "-_8");
  for (size_t size = 0; size < 40; ++size) {
    std::string bytes = random_bytes(size);
    CHECK(decode_base64url(base64url(bytes)) == bytes);
  }
  CHECK_FALSE(decode_base64url("Z"));
  CHECK_FALSE(decode_base64url("Zm+v"));
  CHECK_FALSE(decode_base64url("Zh"));  // the same byte as "Zg", with a loose bit
  CHECK(hex(std::string("\x00\xff\x10", 3)) == "00ff10");
  CHECK(hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(equal_secrets("a", "a"));
  CHECK_FALSE(equal_secrets("a", "b"));
  CHECK_FALSE(equal_secrets("a", "ab"));
}

TEST_CASE("tokens are parsed strictly; errors name the part and never the secret", "[token]") {
  Token token{good_pin, MemberRole::worker, "abcd2345", good_secret};
  std::string text = format_token(token);
  CHECK(text == "rctl1." + good_pin + ".worker.abcd2345." + good_secret);
  Token again = parse_token(" \n" + text + "\n");
  CHECK(again.ca_pin == good_pin);
  CHECK(again.role == MemberRole::worker);
  CHECK(again.id == "abcd2345");
  CHECK(again.secret == good_secret);

  CHECK(error_of("  ") == "cannot read the join token: it is empty");
  CHECK(error_of("K10abc::x") ==
        "cannot read the join token: it doesn't begin with 'rctl1.' (was all of it copied?)");
  CHECK(error_of("rctl1." + good_pin + ".worker") ==
        "cannot read the join token: it has 3 parts, not 5 (was all of it copied?)");
  CHECK(error_of("rctl1.AAAA.worker.abcd2345." + good_secret) ==
        "cannot read the join token: its 2nd part isn't the hash of a cluster's key");
  CHECK(error_of("rctl1." + good_pin + ".boss.abcd2345." + good_secret) ==
        "cannot read the join token: its role 'boss' is none of head, worker, operator, admin");
  CHECK(error_of("rctl1." + good_pin + ".worker.ABCD." + good_secret) ==
        "cannot read the join token: its 4th part isn't a token's id");
  std::string damaged = error_of("rctl1." + good_pin + ".worker.abcd2345.hunter2");
  CHECK(damaged == "cannot read the join token: its secret is damaged (was all of it copied?)");
  CHECK(error_of(std::string(600, 'x')) == "cannot read the join token: it is longer than any token");
}

TEST_CASE("tokens come from a file or the environment", "[token]") {
  TempDir dir;
  std::string text = format_token({good_pin, MemberRole::worker, "abcd2345", good_secret});
  std::string file = join(dir.path(), "t");
  replace_file(file, text + "\n", 0600);
  unsetenv("RAYCTL_TOKEN");
  CHECK(read_token(file)->id == "abcd2345");
  CHECK_FALSE(read_token(""));
  setenv("RAYCTL_TOKEN", text.c_str(), 1);
  CHECK(read_token("")->id == "abcd2345");
  setenv("RAYCTL_TOKEN", "nonsense", 1);
  CHECK_THROWS_WITH(read_token(""), Contains("reading RAYCTL_TOKEN: cannot read the join token"));
  unsetenv("RAYCTL_TOKEN");
  replace_file(file, "x", 0600);
  CHECK_THROWS_WITH(read_token(file), Contains("reading '" + file + "': cannot read the join token"));
}

TEST_CASE("the store knows hashes, lifetimes, uses and revocation", "[token]") {
  TokenStore store;
  auto made = store.create(good_pin, MemberRole::worker, seconds(3600), 2, noon);
  const Token& token = made.token;
  CHECK(parse_token(format_token(token)).secret == token.secret);
  CHECK(to_json(made.record).dump().find(token.secret) == std::string::npos);
  CHECK(made.record.secret_hash == hex(sha256(token.secret)));

  auto verify = [&](MemberRole role, WallTime now, const std::string& secret) {
    store.verify(token.id, secret, role, now);
  };
  CHECK_NOTHROW(verify(MemberRole::worker, noon, token.secret));
  CHECK_THROWS_WITH(verify(MemberRole::head, noon, token.secret), Contains("for role worker, not head"));
  CHECK_THROWS_WITH(verify(MemberRole::admin, noon, token.secret), Contains("for role worker, not admin"));
  CHECK_THROWS_WITH(verify(MemberRole::worker, noon, good_secret), Contains("not one of this cluster's"));
  CHECK_THROWS_WITH(store.verify("zzzzzzzz", token.secret, MemberRole::worker, noon),
                    Contains("not one of this cluster's"));
  CHECK_NOTHROW(verify(MemberRole::worker, noon + seconds(3599), token.secret));
  CHECK_THROWS_WITH(
      verify(MemberRole::worker, noon + seconds(3600 + 90), token.secret),
      Contains("expired 1m 30s ago (on the head, make a new one: rayctl token create --role worker"));
  store.count_use(token.id);
  CHECK(token_state(store.list().at(0), noon) == "valid");
  store.count_use(token.id);
  CHECK(token_state(store.list().at(0), noon) == "used up");
  CHECK_THROWS_WITH(verify(MemberRole::worker, noon, token.secret),
                    Contains("is used up: it was good for 2 uses"));
  CHECK_NOTHROW(store.verify(token.id, token.secret, MemberRole::worker, noon, TokenStore::Use::again));
  CHECK_FALSE(store.revoked(token.id));
  store.revoke(token.id.substr(0, 4));
  CHECK(store.revoked(token.id));
  CHECK_THROWS_WITH(store.verify(token.id, token.secret, MemberRole::worker, noon, TokenStore::Use::again),
                    Contains("was revoked"));
  // The id is random: one in a thousand begins with "zz".
  std::string absent = token.id[0] == 'z' ? "yy" : "zz";
  CHECK_THROWS_WITH(store.revoke(absent),
                    "cannot revoke token '" + absent + "': no such token (rayctl token list)");
  CHECK_THROWS_WITH(store.revoke(""), Contains("no such token"));

  // What the journal keeps comes back the same.
  TokenStore other;
  other.put(parse_token_record(Json::parse(to_json(store.list().at(0)).dump(), "t")));
  CHECK(to_json(other.list().at(0)) == to_json(store.list().at(0)));
  store.forget_old(noon + seconds(3600 + 59), seconds(60));
  CHECK(store.list().size() == 1);
  store.forget_old(noon + seconds(3600 + 60), seconds(60));
  CHECK(store.list().empty());
  CHECK(store.revoked(token.id));
}

TEST_CASE("tokens that make no sense aren't made", "[token]") {
  TokenStore store;
  CHECK_THROWS_WITH(store.create(good_pin, MemberRole::head, seconds(60), 1, noon),
                    Contains("a cluster has one head"));
  CHECK_THROWS_WITH(store.create(good_pin, MemberRole::worker, seconds(0), 1, noon), Contains("lasts 0s"));
  CHECK_THROWS_WITH(store.create(good_pin, MemberRole::worker, seconds(400 * 86400), 1, noon),
                    Contains("from 1s to 365 days"));
  CHECK_THROWS_WITH(store.create(good_pin, MemberRole::worker, seconds(60), 0, noon), Contains("for 0 uses"));
  CHECK_THROWS_WITH(store.create(good_pin, MemberRole::worker, seconds(60), 100001, noon),
                    Contains("from 1 to 100000"));
}
