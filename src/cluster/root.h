// The root CA of a cluster, kept by whoever made the cluster; the head holds only an authority that it
// signed.
#pragma once

#include <string>
#include <string_view>

#include "cluster/ca.h"
#include "cluster/token.h"

namespace rayctl::cluster {

// $XDG_DATA_HOME/rayctl/clusters (~/.local/share/rayctl/clusters), also for root; with NAME below it.
std::string clusters_directory();
std::string cluster_home(std::string_view name);
// A cluster's name on the operator's machine: 1 .. 63 letters, digits, '-', '_', '.'; throws for another.
void check_context_name(std::string_view name);

// DIRECTORY/{root.key (0600), root.crt, claim-token (0600)}. One root is for one cluster: both its own
// certificate and those that it signs are limited to that cluster's id.
class Root {
 public:
  static Root create(const std::string& directory);  // with a new cluster id; an Error when there is one
  static Root open(const std::string& directory);    // an Error that says what is missing
  static bool exists(const std::string& directory);
  static Root open_or_create(const std::string& directory);

  const std::string& cluster_id() const { return cluster_id_; }
  const std::string& pin() const { return pin_; }  // what tokens name: base64url sha256 of its public key
  const X509Ptr& certificate() const { return certificate_; }
  const std::string& directory() const { return directory_; }

  // The head's authority, from its CSR (PEM): for this cluster only, and for no further authorities.
  X509Ptr sign_authority(std::string_view csr_pem, WallTime now) const;
  // An admin's certificate that needs no head; 30 days.
  X509Ptr issue_admin(const KeyPtr& key, std::string_view name, WallTime now) const;

  // The token that lets the head be claimed: made once and kept until forget_claim_token(). Its role is head.
  Token claim_token() const;
  void forget_claim_token() const;
  // A token for machines that boot before the head has a cluster: the record goes to the head with the claim.
  TokenStore::Created worker_token(std::chrono::seconds lifetime, uint32_t uses, WallTime now) const;

 private:
  Root(std::string directory, KeyPtr key, X509Ptr certificate);
  std::string directory_;
  KeyPtr key_;
  X509Ptr certificate_;
  std::string cluster_id_, pin_;
};

}  // namespace rayctl::cluster
