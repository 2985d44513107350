#include "cluster/root.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cluster/operators.h"
#include "cluster/x509.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using std::chrono::hours;
using std::chrono::seconds;

namespace {

// A head's authority that a root signed.
struct Signed {
  TempDir root_dir, head_dir;
  Root root = Root::create(join(root_dir.path(), "r"));
  Authority authority = [this] {
    std::string csr = Authority::request(head_dir.path());
    Authority::install(head_dir.path(), root.sign_authority(csr, wall_now()), root.certificate(),
                       root.cluster_id(), wall_now());
    return Authority::open(head_dir.path(), root.cluster_id());
  }();
};

}  // namespace

TEST_CASE("a root is made once, kept to its owner, and opened again", "[ca]") {
  TempDir dir;
  std::string home = join(dir.path(), "lab");
  Root made = Root::create(home);
  CHECK((status(home)->st_mode & 0777) == 0700);
  CHECK((status(join(home, "root.key"))->st_mode & 0777) == 0600);
  CHECK(made.cluster_id().size() == 16);
  CHECK(constrained_cluster(made.certificate()) == made.cluster_id());
  CHECK_THROWS_WITH(Root::create(home), Contains("there is one"));
  Root again = Root::open_or_create(home);
  CHECK(again.pin() == made.pin());
  CHECK(again.cluster_id() == made.cluster_id());

  Token token = again.claim_token();
  CHECK(token.role == MemberRole::head);
  CHECK(token.ca_pin == made.pin());
  CHECK(format_token(again.claim_token()) == format_token(token));
  CHECK((status(join(home, "claim-token"))->st_mode & 0777) == 0600);
  again.forget_claim_token();
  again.forget_claim_token();
  CHECK(format_token(again.claim_token()) != format_token(token));

  REQUIRE(rename(join(home, "root.key").c_str(), join(home, "x").c_str()) == 0);
  CHECK_THROWS_WITH(Root::open(home), Contains("root.key' is missing (restore it from a backup)"));
  load_or_make_key(join(home, "root.key"));
  CHECK_THROWS_WITH(Root::open(home), Contains("don't belong together"));
  CHECK_THROWS_WITH(Root::open(join(dir.path(), "none")), Contains("is missing"));
  CHECK_THROWS_WITH(cluster_home("../x"), Contains("cannot use '../x' as a cluster's name"));
}

TEST_CASE("a chain leads from a member over the head's authority to the root, and no further", "[ca]") {
  Signed lab, other;
  WallTime now = wall_now();
  CHECK(lab.authority.pin() == lab.root.pin());
  KeyPtr key = make_key();
  X509Ptr worker = lab.authority.issue(key, {lab.root.cluster_id(), MemberRole::worker, node_id(key)}, now);
  const X509Ptr& root = lab.root.certificate();
  X509Ptr issuer;
  CHECK(verify_chain(worker, {lab.authority.certificate()}, root, now, &issuer) == "");
  CHECK(issuer == lab.authority.certificate());
  const std::string foreign = "its certificate is from another cluster";
  CHECK(verify_chain(worker, {}, root, now) == foreign);
  CHECK(verify_chain(worker, {nullptr, other.authority.certificate()}, root, now) == foreign);
  CHECK(verify_chain(worker, {lab.authority.certificate()}, other.root.certificate(), now) == foreign);

  // The root's own admin; and dates.
  X509Ptr admin = lab.root.issue_admin(key, "ann", now);
  CHECK(verify_chain(admin, {}, root, now) == "");
  CHECK(certificate_info(admin).identity.id == "user-ann");
  CHECK_THAT(verify_chain(admin, {}, root, now + hours(24 * 31)), Contains("expired at"));
  CHECK_THAT(verify_chain(worker, {lab.authority.certificate()}, root, now + hours(24 * 365 * 30)),
             Contains("expired at"));

  // The authority speaks for its cluster alone.
  X509Ptr stranger = lab.authority.issue(key, {other.root.cluster_id(), MemberRole::admin, "user-eve"}, now);
  CHECK(verify_chain(stranger, {lab.authority.certificate()}, root, now) == foreign);
  CHECK_THROWS_WITH(
      Authority::install(lab.head_dir.path(),
                         other.root.sign_authority(Authority::request(lab.head_dir.path()), now),
                         other.root.certificate(), lab.root.cluster_id(), now),
      Contains("it is for another cluster"));
  CHECK_THROWS_WITH(Authority::install(lab.head_dir.path(), lab.authority.certificate(),
                                       other.root.certificate(), lab.root.cluster_id(), now),
                    Contains("another cluster"));

  // A member is no authority, and an authority makes no authorities: neither is ever in between.
  std::string eve = format_identity({lab.root.cluster_id(), MemberRole::admin, "user-eve"});
  X509Ptr below = make_certificate({.common_name = "eve",
                                    .from = now,
                                    .to = now + hours(1),
                                    .extensions = {{NID_subject_alt_name, "URI:" + eve}}},
                                   key.get(), worker, key.get());
  CHECK(verify_chain(below, {worker}, root, now) != "");
  CHECK(verify_chain(below, {worker, lab.authority.certificate()}, root, now) != "");
  // A cluster whose CA is its own root has none in between at all.
  TempDir plain_dir;
  Authority plain = Authority::open(plain_dir.path(), lab.root.cluster_id());
  X509Ptr plain_worker = plain.issue(key, {lab.root.cluster_id(), MemberRole::worker, node_id(key)}, now);
  CHECK(verify_chain(plain_worker, {}, plain.certificate(), now) == "");
  CHECK(verify_chain(worker, {lab.authority.certificate()}, plain.certificate(), now) == foreign);
}

TEST_CASE("an unclaimed head's certificate is recognised, and is worth nothing", "[ca]") {
  TempDir dir;
  KeyPtr key = make_key();
  X509Ptr made = make_unclaimed_certificate(key, wall_now());
  CHECK(is_unclaimed(made));
  Authority authority = Authority::open(dir.path(), "unclaimed");
  // A cluster can't pass for one by its name.
  CHECK_FALSE(is_unclaimed(authority.issue(key, {"unclaimed", MemberRole::head, node_id(key)}, wall_now())));
  CHECK_FALSE(is_unclaimed(authority.certificate()));
  CHECK(verify_certificate(made, authority.certificate(), wall_now()) != "");
}

TEST_CASE("operators come and go by name", "[ca]") {
  OperatorStore store;
  WallTime now = wall_now();
  auto certificate = [](std::string name, WallTime made, MemberRole role = MemberRole::operator_) {
    return CertificateInfo{.identity = {"c", role, operator_id(name)},
                           .not_before = made - CertificateTimes{}.backdate,
                           .not_after = made + hours(24),
                           .serial = "1"};
  };
  using By = OperatorStore::SignedBy;
  store.add("ann", MemberRole::operator_, now);
  CHECK(store.refusal(certificate("ann", now), By::authority) == "");
  CHECK(store.refusal(certificate("bob", now), By::authority) == "operator 'bob' is unknown to this cluster");
  CHECK(store.refusal(certificate("bob", now), By::root) == "");
  CHECK(store.refusal(certificate("ann", now, MemberRole::admin), By::root) ==
        "operator 'ann' is no admin any more");
  CHECK_THROWS_WITH(store.add("ann", MemberRole::admin, now), Contains("there is one of that name"));
  CHECK_THROWS_WITH(store.add("An n", MemberRole::admin, now), Contains("as an operator's name"));
  CHECK_THROWS_WITH(store.add("eve", MemberRole::head, now), Contains("the role is operator or admin"));
  CHECK_THROWS_WITH(store.remove("bob", now), Contains("there is none"));

  // Removed: whoever signed; added again: only certificates made since.
  store.remove("ann", now + seconds(5));
  for (By by : {By::authority, By::root})
    CHECK(store.refusal(certificate("ann", now), by) == "operator 'ann' was removed from this cluster");
  CHECK_THROWS_WITH(store.add("ann", MemberRole::operator_, now + seconds(5)), Contains("try again"));
  store.add("ann", MemberRole::operator_, now + seconds(6));
  CHECK(store.refusal(certificate("ann", now + seconds(6)), By::authority) == "");
  CHECK(store.refusal(certificate("ann", now + seconds(5)), By::authority) != "");

  store.remove("ann", now + seconds(7));
  store.forget_old(now + hours(24 * 29));
  CHECK(store.find("ann") != nullptr);
  store.forget_old(now + hours(24 * 31));
  CHECK(store.find("ann") == nullptr);
}
