#include "oci/digest.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

TEST_CASE("a digest is computed over a stream, and its parts can be named") {
  Hasher hasher;
  hasher.add("hello ");
  hasher.add("world");
  Digest d = hasher.finish();
  CHECK(d.string() == "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
  CHECK(d == Digest::of("hello world"));
  CHECK(d.path() == "sha256/" + d.hex());
  CHECK(d.short_hex() == "b94d27b9934d");
  CHECK(Digest::parse(d.string()) == d);
}

TEST_CASE("sha512 is accepted") {
  Digest d = Digest::of(as_bytes("x"), Algorithm::sha512);
  CHECK(d.hex().size() == 128);
  CHECK(Digest::parse(d.string()) == d);
  CHECK(d.path().starts_with("sha512/"));
}

TEST_CASE("what is no digest never becomes a path (CVE-2024-3727)") {
  std::string hex(64, 'a');
  for (std::string text :
       {std::string("sha256:../../etc/passwd"), "sha256:" + hex.substr(1), "sha256:" + hex + "a",
        "sha256:A" + hex.substr(1), "md5:" + hex, "sha256" + hex, "sha256:" + hex.substr(1) + "/", ":" + hex,
        std::string(), "SHA256:" + hex, "sha256:" + hex.substr(1) + std::string(1, '\0'), "sha512:" + hex}) {
    INFO(text);
    CHECK_FALSE(Digest::is_digest(text));
    CHECK_THROWS_WITH(Digest::parse(text), Catch::Contains("as a digest"));
  }
}

TEST_CASE("no digest is false and sorts first") {
  CHECK_FALSE(Digest());
  CHECK(Digest().string().empty());
  CHECK(Digest() < Digest::of("a"));
}

TEST_CASE("a chain id covers the layers below") {
  Digest a = Digest::of("a"), b = Digest::of("b");
  CHECK(chain_id({}, a) == a);
  CHECK(chain_id(a, b) == Digest::of(a.string() + " " + b.string()));
}
