#include "cluster/ca.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using std::chrono::hours;
using std::chrono::seconds;

TEST_CASE("identities are one URI, read strictly", "[ca]") {
  Identity identity{"0123456789abcdef", MemberRole::worker, "aabbccddeeff00112233"};
  CHECK(format_identity(identity) == "rayctl://0123456789abcdef/worker/aabbccddeeff00112233");
  auto parsed = parse_identity(format_identity(identity));
  REQUIRE(parsed);
  CHECK(parsed->cluster == identity.cluster);
  CHECK(parsed->role == identity.role);
  CHECK(parsed->id == identity.id);
  for (const char* bad : {"", "rayctl://", "rayctl://a/worker", "rayctl://a/worker/", "rayctl:///worker/b",
                          "rayctl://a/boss/b", "rayctl://a/worker/b/c", "rayctl://a/worker/B",
                          "rayctl://a/worker/b%00", "http://a/worker/b", "rayctl://a/head/../b"})
    CHECK_FALSE(parse_identity(bad));
}

TEST_CASE("the CA signs what its rules allow, and nothing else", "[ca]") {
  TempDir dir, node;
  Authority authority = Authority::open(dir.path(), "0123456789abcdef");
  KeyPtr key = load_or_make_key(join(node.path(), "node.key"));
  std::string id = node_id(key);
  CHECK(id.size() == 20);
  X509Ptr certificate =
      authority.sign(make_csr(key), {authority.cluster_id(), MemberRole::worker, id}, wall_now());
  CertificateInfo info = certificate_info(certificate);
  CHECK(info.identity.id == id);
  CHECK(info.identity.role == MemberRole::worker);
  CHECK(info.identity.cluster == "0123456789abcdef");
  CHECK(info.not_after - info.not_before == hours(24 * 90 + 1));
  CHECK(info.serial.size() == 32);
  CHECK(verify_certificate(certificate, authority.certificate(), wall_now()) == "");

  // Validity, with a minute of tolerance on both sides.
  CHECK(verify_certificate(certificate, authority.certificate(), info.not_before - seconds(60)) == "");
  CHECK_THAT(verify_certificate(certificate, authority.certificate(), info.not_before - seconds(61)),
             Contains("is not valid before"));
  CHECK(verify_certificate(certificate, authority.certificate(), info.not_after + seconds(60)) == "");
  CHECK_THAT(verify_certificate(certificate, authority.certificate(), info.not_after + seconds(61)),
             Contains("expired at"));

  TempDir foreign;
  Authority other = Authority::open(foreign.path(), "fedcba9876543210");
  CHECK(verify_certificate(certificate, other.certificate(), wall_now()) ==
        "its certificate is from another cluster");
  CHECK_THAT(verify_certificate(authority.certificate(), authority.certificate(), wall_now()),
             Contains("authority"));

  // Another node's id, damaged and unsigned requests, other kinds of keys.
  KeyPtr thief = load_or_make_key(join(node.path(), "thief.key"));
  CHECK_THROWS_WITH(
      authority.sign(make_csr(thief), {authority.cluster_id(), MemberRole::worker, id}, wall_now()),
      "cannot sign a certificate for node '" + id + "': the key is another node's");
  CHECK_THROWS_WITH(authority.sign("-----BEGIN", {"a", MemberRole::worker, id}, wall_now()),
                    "cannot read a certificate request: it is damaged");
  CHECK_THROWS_WITH(authority.sign(std::string(20000, 'x'), {"a", MemberRole::worker, id}, wall_now()),
                    Contains("larger than 16 KiB"));
  CHECK_THROWS_WITH(authority.sign(make_csr(key), {"a b", MemberRole::operator_, "x"}, wall_now()),
                    Contains("not an identity"));
}

TEST_CASE("a request with a changed key isn't signed by its own key", "[ca]") {
  TempDir dir;
  Authority authority = Authority::open(dir.path(), "a");
  KeyPtr key = load_or_make_key(join(dir.path(), "n.key"));
  std::string csr = make_csr(key);
  // Each flipped letter of the body either breaks the encoding or the signature; none gets through as another
  // request.
  size_t signed_ones = 0;
  for (size_t at = 60; at + 60 < csr.size(); at += 3) {
    std::string changed = csr;
    if (changed[at] == '\n') continue;
    changed[at] = changed[at] == 'A' ? 'B' : 'A';
    if (changed == csr) continue;
    try {
      authority.sign(changed, {"a", MemberRole::operator_, "x"}, wall_now());
      ++signed_ones;
    } catch (const Error&) {
    }
  }
  CHECK(signed_ones == 0);
}

TEST_CASE("keys stay: made once, 0600, refused when others could read them", "[ca]") {
  TempDir dir;
  std::string path = join(dir.path(), "node.key");
  std::string id = node_id(load_or_make_key(path));
  CHECK((status(path)->st_mode & 0777) == 0600);
  CHECK(node_id(load_or_make_key(path)) == id);
  REQUIRE(chmod(path.c_str(), 0640) == 0);
  CHECK_THROWS_WITH(load_or_make_key(path),
                    Contains("cannot use key '" + path + "': others may read it (if nobody did: chmod 600"));
  replace_file(path, "nonsense", 0600);
  CHECK_THROWS_WITH(load_or_make_key(path), "cannot read key '" + path + "': it is damaged");
  // An encrypted key asks for no password on the terminal.
  replace_file(
      path,
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg=\n-----END "
      "ENCRYPTED PRIVATE KEY-----\n",
      0600);
  CHECK_THROWS_WITH(load_or_make_key(path), Contains("it is damaged"));
}

TEST_CASE("the CA is the same after a restart, and says when half of it is missing", "[ca]") {
  TempDir dir;
  std::string pin = Authority::open(dir.path(), "a").pin();
  CHECK(Authority::open(dir.path(), "a").pin() == pin);
  CHECK((status(join(dir.path(), "ca.key"))->st_mode & 0777) == 0600);
  CHECK(spki_pin(parse_certificate(read_file(join(dir.path(), "ca.crt")), "ca")) == pin);
  REQUIRE(rename(join(dir.path(), "ca.key").c_str(), join(dir.path(), "x").c_str()) == 0);
  CHECK_THROWS_WITH(Authority::open(dir.path(), "a"),
                    Contains("ca.key' is missing (without it no node can join"));
  load_or_make_key(join(dir.path(), "ca.key"));
  CHECK_THROWS_WITH(Authority::open(dir.path(), "a"), Contains("don't belong together"));
}

TEST_CASE("credentials that don't fit say how to start anew", "[ca]") {
  TempDir ca, dir;
  Authority authority = Authority::open(ca.path(), "a");
  Credentials mine = load_credentials(dir.path());
  CHECK_FALSE(mine.joined());
  X509Ptr certificate = authority.issue(mine.key, {"a", MemberRole::worker, node_id(mine.key)}, wall_now());
  save_certificate(dir.path(), certificate, authority.certificate());
  CHECK(load_credentials(dir.path()).joined());
  TempDir other;
  save_certificate(dir.path(), certificate, Authority::open(other.path(), "b").certificate());
  CHECK_THROWS_WITH(
      load_credentials(dir.path()),
      Contains("doesn't fit the key or the CA beside it (leave the cluster with: rayctl node reset)"));
}

TEST_CASE("renewal is due between half and four fifths of a certificate's life", "[ca]") {
  CertificateInfo info{.identity = {},
                       .not_before = WallTime(seconds(1000)),
                       .not_after = WallTime(seconds(2000)),
                       .serial = {}};
  CHECK(renewal_time(info, 0) == WallTime(seconds(1500)));
  CHECK(renewal_time(info, 0.999) == WallTime(seconds(1799)));
}
