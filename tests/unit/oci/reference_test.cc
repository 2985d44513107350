#include "oci/reference.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

TEST_CASE("a name is read as docker reads it") {
  struct {
    const char *text, *full, *familiar;
  } cases[] = {
      {"debian", "docker.io/library/debian:latest", "debian:latest"},
      {"debian:12", "docker.io/library/debian:12", "debian:12"},
      {"rayproject/ray:2.9.0-py311", "docker.io/rayproject/ray:2.9.0-py311", "rayproject/ray:2.9.0-py311"},
      {"docker.io/debian", "docker.io/library/debian:latest", "debian:latest"},
      {"index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"},
      {"localhost/x", "localhost/x:latest", "localhost/x:latest"},
      {"localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"},
      {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
      {"10.0.0.1/x__y/z--a.b", "10.0.0.1/x__y/z--a.b:latest", "10.0.0.1/x__y/z--a.b:latest"},
      {"Host/x", "Host/x:latest", "Host/x:latest"},
      {"user/name:_T.-9", "docker.io/user/name:_T.-9", "user/name:_T.-9"},
  };
  for (auto& c : cases) {
    INFO(c.text);
    Reference r = parse_reference(c.text);
    CHECK(to_string(r) == c.full);
    CHECK(familiar(r) == c.familiar);
    CHECK(parse_reference(to_string(r)) == r);
  }
}

TEST_CASE("a digest needs no tag, and wins over one") {
  std::string digest = Digest::of("x").string();
  Reference r = parse_reference("debian@" + digest);
  CHECK_FALSE(r.tag);
  CHECK(version_of(r) == digest);
  CHECK(familiar(r) == "debian@" + digest);
  r = parse_reference("debian:12@" + digest);
  CHECK(r.tag == "12");
  CHECK(version_of(r) == digest);
  CHECK(version_of(parse_reference("debian:12")) == "12");
  CHECK(familiar_repository(r) == "debian");
}

TEST_CASE("a wrong name says what is wrong with it") {
  struct {
    std::string text, reason;
  } cases[] = {
      {"", "it is empty"},
      {"Debian", "a repository is written in lower case"},
      {"a//b", "a repository is lower-case"},
      {"a/../b", "a repository is lower-case"},
      {"-a", "a repository is lower-case"},
      {"a.", "a repository is lower-case"},
      {"a___b", "a repository is lower-case"},
      {"x:", "a tag is"},
      {"x:.y", "a tag is"},
      {"x:a/b", "'x:a' is not a registry"},
      {"x:" + std::string(129, 'a'), "a tag is"},
      {"localhost:99999/x", "'localhost:99999' is not a registry"},
      {"localhost:/x", "is not a registry"},
      {"a..b/x", "is not a registry"},
      {"[::1/x", "is not a registry"},
      {"x@sha256:abc", "as a digest"},
      {std::string(64, 'a'), "64 hex digits are an id"},
      {"localhost/" + std::string(250, 'a'), "longer than 255"},
      {"a b", "a repository is lower-case"},
      {"a\x1b[31m", "\\x1b"},
  };
  for (auto& c : cases) {
    INFO(c.text);
    CHECK_THROWS_WITH(parse_reference(c.text), Catch::Contains(c.reason));
  }
}
