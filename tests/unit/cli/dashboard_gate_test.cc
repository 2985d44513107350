#include "cli/dashboard_gate.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::cli;
using Catch::Contains;
using Kind = cluster::GateVerdict::Kind;

namespace {

const DashboardGate gate{.key = "0123456789abcdef", .token = "ray-token", .port = 8265};

cluster::GateVerdict judge(const std::string& target, const std::string& fields,
                           const std::string& host = "127.0.0.1:8265") {
  return gate.judge("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n");
}

}  // namespace

TEST_CASE("the dashboard's port serves the browser that has the key, and no other", "[dashboard]") {
  CHECK(gate.url() == "http://127.0.0.1:8265/?key=0123456789abcdef");
  CHECK(gate.judge("GET / HTTP/1.1\r\nHost: 127.0.0.1:8265\r\n").kind == Kind::more);

  auto first = judge("/?key=0123456789abcdef", "");
  CHECK(first.kind == Kind::answer);
  CHECK_THAT(first.bytes, Contains("302 Found") && Contains("Location: /\r\n") &&
                              Contains("Set-Cookie: rayctl-8265=0123456789abcdef; Path=/; HttpOnly; "
                                       "SameSite=Strict"));
  for (const char* target : {"/", "/?key=", "/?key=0123456789abcdee", "/api/jobs/?key=0123456789abcdef"}) {
    auto refused = judge(target, "Cookie: a=b\r\n");
    CHECK(refused.kind == Kind::answer);
    CHECK_THAT(refused.bytes, Contains("HTTP/1.1 403 ") && !Contains("ray-token"));
  }
  CHECK_THAT(judge("/", "Cookie: rayctl-8265=wrong\r\n").bytes, Contains("403"));

  auto passed = judge("/api/x",
                      "Cookie: a=b; rayctl-8265=0123456789abcdef; c=d\r\nConnection: keep-alive\r\n"
                      "Accept: */*\r\n");
  REQUIRE(passed.kind == Kind::pass);
  CHECK(passed.bytes ==
        "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:8265\r\nAccept: */*\r\nCookie: a=b; c=d\r\n"
        "Connection: close\r\nAuthorization: Bearer ray-token\r\n\r\n");
  auto socket = judge("/logs",
                      "Cookie: rayctl-8265=0123456789abcdef\r\nConnection: Upgrade\r\n"
                      "Upgrade: websocket\r\n");
  CHECK_THAT(socket.bytes, Contains("Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer"));

  // A body goes along; whoever brings a token of their own is Ray's to judge.
  std::string post =
      "POST /api/jobs/ HTTP/1.1\r\nHost: localhost:8265\r\nContent-Length: 2\r\n"
      "Cookie: rayctl-8265=0123456789abcdef\r\n\r\n{}";
  CHECK_THAT(gate.judge(post).bytes, Contains("\r\n\r\n{}"));
  auto own = judge("/api/version", "authorization: Bearer mine\r\n");
  CHECK(own.kind == Kind::pass);
  CHECK_THAT(own.bytes, Contains("Bearer mine") && !Contains("ray-token"));
}

TEST_CASE("names that lead here from elsewhere, and odd requests, are refused", "[dashboard]") {
  const std::string cookie = "Cookie: rayctl-8265=0123456789abcdef\r\n";
  for (const char* host : {"evil.example:8265", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8265.evil.example"})
    CHECK_THAT(judge("/", cookie, host).bytes, Contains("403") && !Contains("ray-token"));
  for (const std::string& head :
       {std::string("GET / HTTP/1.1\r\n" + cookie + "\r\n"),
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8265\r\nHost: evil\r\n" + cookie + "\r\n",
        "GET http://evil/ HTTP/1.1\r\nHost: 127.0.0.1:8265\r\n" + cookie + "\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8265\r\n folded\r\n" + cookie + "\r\n",
        "GET / HTTP/1.1\r\nHost : 127.0.0.1:8265\r\n" + cookie + "\r\n", std::string("\x16\x03\x01\r\n\r\n")})
    CHECK_THAT(gate.judge(head).bytes, Contains("HTTP/1.1 400 ") && !Contains("ray-token"));
}
