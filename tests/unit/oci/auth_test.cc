#include "oci/auth.h"

#include <catch2/catch.hpp>

#include "base/base64.h"
#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

TEST_CASE("challenges are read as servers write them") {
  auto c = parse_challenges(
      R"(Bearer realm="https://auth.test/token",service="reg.test",scope="repository:a/b:pull,push")");
  REQUIRE(c.size() == 1);
  CHECK(c[0].scheme == "bearer");
  CHECK(c[0].value("realm") == "https://auth.test/token");
  CHECK(c[0].value("scope") == "repository:a/b:pull,push");
  CHECK(c[0].value("none").empty());

  c = parse_challenges(
      R"(Negotiate, Basic realm="a \"b\", c" , charset=UTF-8, BEARER Realm=https://x/y?z=1 , Service = s)");
  REQUIRE(c.size() == 3);
  CHECK(c[0].scheme == "negotiate");
  CHECK(c[1].value("realm") == "a \"b\", c");
  CHECK(c[1].value("charset") == "UTF-8");
  CHECK(c[2].value("realm") == "https://x/y?z=1");
  CHECK(c[2].value("service") == "s");

  c = parse_challenges("Negotiate YII/abc==, Basic realm=x");
  REQUIRE(c.size() == 2);
  CHECK(c[0].values.empty());
  CHECK(c[1].value("realm") == "x");
}

TEST_CASE("what is no challenge gives none, and nothing hangs") {
  for (const char* text : {"", ",,,", "=", "\"", "()<>@", " \t "}) CHECK(parse_challenges(text).empty());
  CHECK(parse_challenges("Basic realm=\"unterminated")[0].value("realm") == "unterminated");
  CHECK(parse_challenges("Basic realm=")[0].scheme == "basic");
  CHECK(parse_challenges(std::string(100000, 'a')).size() == 1);
}

TEST_CASE("credentials go to https, to the registry itself, and nowhere inside") {
  CHECK_NOTHROW(validate_realm("https://auth.test/token", "https://reg.test"));
  CHECK_NOTHROW(validate_realm("http://127.0.0.1:5001/token", "http://127.0.0.1:5000"));
  CHECK_NOTHROW(validate_realm("https://10.0.0.5:5000/token", "https://10.0.0.5:5000"));
  struct {
    const char *realm, *registry, *reason;
  } cases[] = {
      {"http://auth.test/token", "https://reg.test", "it is not https"},
      {"http://169.254.169.254/latest", "http://reg.test", "it is not https"},
      {"https://169.254.169.254/latest", "https://reg.test", "an address of this network"},
      {"https://127.0.0.1/x", "https://reg.test", "an address of this network"},
      {"https://localhost/x", "https://reg.test", "an address of this network"},
      {"https://[fe80::1]/x", "https://reg.test", "an address of this network"},
      {"https://[::ffff:10.0.0.1]/x", "https://reg.test", "an address of this network"},
      {"https://192.168.1.1/x", "https://10.0.0.5", "an address of this network"},
      {"https://user:pw@auth.test/", "https://reg.test", "holds a user name"},
      {"ftp://auth.test/", "https://reg.test", "Unsupported URL scheme"},
      {"", "https://reg.test", "cannot parse URL"},
  };
  for (auto& c : cases) {
    INFO(c.realm);
    CHECK_THROWS_WITH(validate_realm(c.realm, c.registry), Catch::Contains(c.reason));
  }
}

TEST_CASE("token requests") {
  Challenge challenge{"bearer", {{"realm", "https://auth.test/token?x=1"}, {"service", "reg test"}}};
  auto anonymous = token_requests(challenge, {"repository:a:pull", "repository:b:pull"}, {});
  REQUIRE(anonymous.size() == 1);
  CHECK(anonymous[0].url ==
        "https://auth.test/"
        "token?x=1&service=reg%20test&scope=repository%3Aa%3Apull&scope=repository%3Ab%3Apull");
  CHECK(anonymous[0].headers.empty());

  auto basic = token_requests(challenge, {}, {.username = "u", .password = "p"});
  CHECK(basic.at(0).headers.at(0).second == "Basic dTpw");

  auto oauth = token_requests(challenge, {"repository:a:pull"}, {.identity_token = "secret"});
  REQUIRE(oauth.size() == 1);
  CHECK(oauth[0].method == "POST");
  CHECK(oauth[0].url == "https://auth.test/token?x=1");
  std::string body;
  copy(oauth[0].body->open(), [&](Bytes b) { body += as_text(b); });
  CHECK(body ==
        "grant_type=refresh_token&refresh_token=secret&service=reg%20test&scope=repository%3Aa%3Apull&client_"
        "id=rayctl");
}

TEST_CASE("tokens") {
  CHECK(parse_token(R"({"token":"t"})").token == "t");
  CHECK(parse_token(R"({"access_token":"a","expires_in":300})").lifetime == std::chrono::seconds(300));
  CHECK(parse_token(R"({"token":"t","expires_in":1})").lifetime == std::chrono::seconds(60));
  CHECK_THROWS_WITH(parse_token("{}"), Catch::Contains("neither 'token' nor 'access_token'"));
  CHECK_THROWS_WITH(parse_token(R"({"token":"a\r\nX: y"})"), Catch::Contains("no header may have"));
  CHECK_THROWS(parse_token("<html>"));
}

TEST_CASE("base64") {
  for (std::string text : {"", "a", "ab", "abc", "abcd", "\xff\xfe"})
    CHECK(from_base64(to_base64(text)) == text);
  for (const char* text : {"a", "a===", "ab=c", "a\nb=", "====", "ab!="}) CHECK_FALSE(from_base64(text));
}
