#include "base/url.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;

TEST_CASE("a URL's parts") {
  Url url = parse_url("https://User:pw@Reg.Test:8443/v2/a?b=c");
  CHECK(url.scheme == "https");
  CHECK(url.host == "reg.test");
  CHECK(url.port == 8443);
  CHECK(url.path == "/v2/a");
  CHECK(url.query == "b=c");
  CHECK(url.has_user);
  CHECK(parse_url("http://x").port == 80);
  CHECK(parse_url("https://[::1]:5000/").host == "[::1]");
  CHECK_THROWS_WITH(parse_url("file:///etc/passwd"), Catch::Contains("only http and https"));
  CHECK_THROWS(parse_url("https://a b/"));
}

TEST_CASE("an origin is scheme, host and port") {
  CHECK(same_origin(parse_url("https://x/a"), parse_url("https://X:443/b")));
  CHECK_FALSE(same_origin(parse_url("https://x"), parse_url("http://x")));
  CHECK_FALSE(same_origin(parse_url("https://x"), parse_url("https://x:444")));
  CHECK_FALSE(same_origin(parse_url("https://x"), parse_url("https://x.y")));
}

TEST_CASE("locations are resolved, queries extended") {
  CHECK(resolve_url("https://x/v2/a/", "/b?c=d") == "https://x/b?c=d");
  CHECK(resolve_url("https://x/v2/a", "b") == "https://x/v2/b");
  CHECK(resolve_url("https://x/", "https://y:1/z#frag") == "https://y:1/z");
  CHECK(add_query("https://x/u?state=1", "digest", "sha256:a") == "https://x/u?state=1&digest=sha256%3Aa");
  CHECK(add_query("https://x/u", "d", "a b") == "https://x/u?d=a%20b");
}

TEST_CASE("no secret is shown") {
  CHECK(show_url("https://u:p@x/y?X-Amz-Signature=1") == "https://x/y");
  CHECK(show_url("https://x/a@b#f") == "https://x/a@b");
}

TEST_CASE("addresses inside the network") {
  for (const char* host :
       {"10.1.2.3", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "[::1]", "[fe80::1]", "fd00::1", "[::ffff:169.254.169.254]", "localhost"})
    CHECK(is_private_address(host));
  for (const char* host : {"8.8.8.8", "172.32.0.1", "[2001:db8::1]", "example.test", "11.0.0.1"})
    CHECK_FALSE(is_private_address(host));
  CHECK(is_loopback_host("127.9.9.9"));
  CHECK(is_loopback_host("[::1]"));
  CHECK_FALSE(is_loopback_host("localhost.evil.test"));
  CHECK_FALSE(is_loopback_host("127.0.0.1.evil.test"));
}
