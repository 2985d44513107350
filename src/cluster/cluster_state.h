// The head's durable state: authority, tokens and members, with every change in the journal before anyone
// hears of it.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/paths.h"
#include "cluster/ca.h"
#include "cluster/claim.h"
#include "cluster/journal.h"
#include "cluster/membership.h"
#include "cluster/operators.h"
#include "cluster/token.h"

namespace rayctl::cluster {

std::string cluster_directory(const Paths& paths);  // state_dir/cluster; made with mode 0700

class ClusterState {
 public:
  // Opens the cluster of this state directory, or creates it with `wanted` (id and created are filled in, an
  // empty prefix is "ray"); one that was claimed gets its id, first operator and tokens from claim.json. For
  // one that exists: prefix, pool, node_prefix and overlay can't change (an Error that names the field and
  // both values); image, workers and settings are taken over. Empty or zero fields of `wanted` mean: as it
  // was. `facts` are the head's own (id and role are filled in). A worker's state directory is an Error.
  static std::unique_ptr<ClusterState> open(const Paths& paths, Cluster wanted, NodeFacts facts,
                                            const MembershipTimes& times, Now now);
  // The cluster that this state directory's head made, empty when there is none: an existing one fixes the
  // pool.
  static std::optional<Cluster> cluster_of(const Paths& paths);

  const Cluster& cluster() const { return members_->cluster(); }
  const Node& self() const;
  uint64_t epoch() const { return epoch_; }
  Membership& members() { return *members_; }
  const Membership& members() const { return *members_; }
  TokenStore& tokens() { return tokens_; }
  OperatorStore& operators() { return operators_; }
  const Authority& authority() const { return *authority_; }
  const Credentials& credentials() const { return credentials_; }
  // Renews the head's own certificate when it is due; true when it did.
  bool renew_own(Now now);

  // Creates, journals and commits. The token is never kept: print it or write it to a 0600 file at once.
  Token create_token(MemberRole role, std::chrono::seconds lifetime, uint32_t uses, WallTime now);
  void journal(const TokenRecord& record);
  void journal(const OperatorRecord& record);
  void change_cluster(const Cluster& cluster);  // image, workers, settings; durable when it returns

  // Journals what changed in the membership; returns the ids. Durable only after commit().
  std::set<std::string> collect();
  void commit();
  bool dirty() const { return journal_->dirty(); }

  bool created() const { return created_; }  // by this open()

 private:
  ClusterState() = default;
  std::string snapshot() const;
  void load(std::string_view snapshot, Now now);
  void replay(std::string_view record, Now now);
  void adopt(const Cluster& wanted);
  void take_claim(const ClaimRecord& claim);

  std::string directory_;
  std::optional<Authority> authority_;
  Credentials credentials_;
  std::unique_ptr<Membership> members_;
  TokenStore tokens_;
  OperatorStore operators_;
  std::unique_ptr<Journal> journal_;
  uint64_t epoch_ = 0;
  bool created_ = false, claim_taken_ = false;
};

// For when no terminal is there to print it on: cluster/worker-token (or the role's), 0600. Returns the path.
std::string write_token_file(const Paths& paths, const Token& token);

}  // namespace rayctl::cluster
