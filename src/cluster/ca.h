// The cluster's certificate authority, and the keys and certificates of its members.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/token.h"

struct x509_st;
struct evp_pkey_st;

namespace rayctl::cluster {

using X509Ptr = std::shared_ptr<x509_st>;
using KeyPtr = std::shared_ptr<evp_pkey_st>;

// Who a certificate speaks for: the URI `rayctl://CLUSTER/ROLE/ID` in its subjectAltName.
struct Identity {
  std::string cluster;  // the cluster's id
  MemberRole role = MemberRole::worker;
  // A node's id. Of operators and admins: operator_id() of their name, or the id of the token that admitted
  // them.
  std::string id;
};

std::string format_identity(const Identity& identity);
std::optional<Identity> parse_identity(std::string_view uri);

// "user-NAME"; a name that can't be one (1 .. 40 of a-z, 0-9, '-') is an Error.
std::string operator_id(std::string_view name);
std::optional<std::string> operator_name(std::string_view id);  // empty: the id of a token

struct CertificateInfo {
  Identity identity;
  WallTime not_before, not_after;
  std::string serial;  // hex
};

// How long certificates last, and how far two clocks may be apart.
struct CertificateTimes {
  std::chrono::seconds node = std::chrono::hours(24 * 90);
  std::chrono::seconds operators = std::chrono::hours(24 * 7);         // admitted by a token
  std::chrono::seconds named_operators = std::chrono::hours(24 * 30);  // renewed while they are used
  std::chrono::seconds authority = std::chrono::hours(24 * 365 * 20);
  std::chrono::seconds backdate =
      std::chrono::hours(1);  // so that a member whose clock is behind can speak TLS at all
};
constexpr std::chrono::seconds max_clock_skew{60};

// Keys are P-256; PEM on disk. A key file that exists is used, never replaced; one that others may read is an
// error.
KeyPtr load_or_make_key(const std::string& path);
KeyPtr make_key();
KeyPtr parse_key(std::string_view pem, std::string_view name);  // `name` is for errors
std::string to_pem(const KeyPtr& key);
// Hex sha256 of the public key's SubjectPublicKeyInfo, first 20 digits: a node's id is bound to its key, so
// that no certificate can be had for another node's id. `node reset` (a new key) makes a new node.
std::string node_id(const KeyPtr& key);
std::string make_csr(const KeyPtr& key);  // PEM, signed by the key; the authority takes nothing else from it
std::string spki_pin(const X509Ptr& certificate);  // base64url sha256 of its SubjectPublicKeyInfo

// PEM, one certificate, at most 64 KiB; `name` is for errors.
X509Ptr parse_certificate(std::string_view pem, std::string_view name);
std::string to_pem(const X509Ptr& certificate);
CertificateInfo certificate_info(const X509Ptr& certificate);  // throws when it isn't one of ours

// The moment to renew: a point between 50 and 80 % of its life that differs per node; `random` in [0, 1).
WallTime renewal_time(const CertificateInfo& info, double random);

// The cluster that an authority's name constraints limit it to; empty: it has none.
std::string constrained_cluster(const X509Ptr& authority);

// Of a head that has no cluster yet: signed by its own key, worth nothing but to be recognised.
X509Ptr make_unclaimed_certificate(const KeyPtr& key, WallTime now);
bool is_unclaimed(const X509Ptr& certificate);

// The CA that admits members, on the head only: cluster/ca.key (0600) and cluster/ca.crt. Either it is its
// own root, or a root elsewhere signed it (cluster/root.crt): then it is good for this one cluster, and for
// no further authorities.
class Authority {
 public:
  // Loads both files or makes both. `cluster_id` is used when it is made. The directory must exist (0700).
  static Authority open(const std::string& directory, const std::string& cluster_id,
                        const CertificateTimes& times = {});
  // A CA that is to be signed elsewhere: makes its key, returns its request; then takes what was signed.
  static std::string request(const std::string& directory);
  static void install(const std::string& directory, const X509Ptr& certificate, const X509Ptr& root,
                      const std::string& cluster_id, WallTime now);

  // A certificate for the key of a CSR (PEM, at most 16 KiB, P-256 or Ed25519, its own signature verified):
  // everything but the key is the authority's choice. For a node `identity.id` must be the key's node_id.
  X509Ptr sign(std::string_view csr_pem, const Identity& identity, WallTime now) const;
  X509Ptr issue(const KeyPtr& key, const Identity& identity, WallTime now) const;

  const X509Ptr& certificate() const { return certificate_; }
  const X509Ptr& root() const { return root_; }    // null: it is its own
  const std::string& pin() const { return pin_; }  // of the root: what tokens name
  const std::string& cluster_id() const { return cluster_id_; }

 private:
  Authority(KeyPtr key, X509Ptr certificate, X509Ptr root, std::string cluster_id,
            const CertificateTimes& times);
  KeyPtr key_;
  X509Ptr certificate_, root_;
  std::string cluster_id_, pin_;
  CertificateTimes times_;
};

// What Authority and Root share: a member's certificate by this issuer.
X509Ptr issue_member(const KeyPtr& key, const Identity& identity, WallTime now, const X509Ptr& issuer,
                     const KeyPtr& issuer_key, const CertificateTimes& times);

// What a member shows and trusts: its key and, once it joined, its certificate and the CA's.
struct Credentials {
  KeyPtr key;
  X509Ptr certificate;  // null before the join
  X509Ptr authority;    // that signed it; null before the join
  X509Ptr root;         // that signed the authority; null: the authority is the root
  bool joined() const { return certificate && authority; }
  const X509Ptr& anchor() const { return root ? root : authority; }
};

// DIRECTORY/{node.key, node.crt, ca.crt, root.crt}; makes the key when it is missing. A certificate that
// doesn't fit the key or the CA is an error that says how to leave the cluster (`rayctl node reset`).
Credentials load_credentials(const std::string& directory);
void save_certificate(const std::string& directory, const X509Ptr& certificate, const X509Ptr& authority,
                      const X509Ptr& root = nullptr);

// Checks a peer's certificate against the authority at `now`, with `max_clock_skew` of tolerance. Returns the
// reason for refusing it, empty when it is good.
std::string verify_certificate(const X509Ptr& certificate, const X509Ptr& authority, WallTime now);
// The same up to a root that signed the certificate itself or one of `authorities` (which may be anything:
// they come from the peer). `issuer` is told which one it was.
std::string verify_chain(const X509Ptr& certificate, const std::vector<X509Ptr>& authorities,
                         const X509Ptr& root, WallTime now, X509Ptr* issuer = nullptr);

}  // namespace rayctl::cluster
