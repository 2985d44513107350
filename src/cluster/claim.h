// How a head that has no cluster yet becomes its operator's.
//
// The head of a new machine knows a claim token: the hash of a root CA that is elsewhere, and a secret. It
// listens with a key of its own that nobody vouches for. The operator dials it with a certificate that leads
// to that root, and both prove that they know the secret, which is never sent:
//   operator, its hello: {protocol, version, kind: "claim", time, token: {id}, proof}
//   head, its hello:     {protocol, version, csr, proof}
//   operator, a request: claim {cluster, certificate, root, operator, tokens}   ->  {}
// Each proof is an HMAC by the secret over what only the two ends of this one TLS connection know (RFC 8446
// section 7.5), so it is worth nothing on any other: to someone in between, or later. The CSR is part of the
// head's. What the operator signed is an authority for this cluster and for no further authorities. With it
// the head makes the cluster, and the token is void.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cluster/control_address.h"
#include "cluster/root.h"

namespace rayctl::cluster {

constexpr std::string_view claim_label = "EXPORTER-rayctl-claim";
enum class ClaimSide { operator_, head };
// base64url; `exporter` is the connection's for claim_label, `csr` the head's, empty for the operator's.
std::string claim_proof(const Token& token, ClaimSide side, std::string_view exporter, std::string_view csr);

// What the operator told the head: cluster/claim.json. Written last of all that a claim leaves on the disk.
struct ClaimRecord {
  std::string cluster;        // its id
  std::string operator_name;  // an admin from the start
  WallTime when;
  std::vector<TokenRecord> tokens = {};  // of machines that boot at the same time
};
nlohmann::json to_json(const ClaimRecord& record);
ClaimRecord parse_claim(const Json& json);
std::optional<ClaimRecord> read_claim(const std::string& cluster_directory);

// --- the operator's side ---

// The head isn't there (yet): worth another try.
class Unreachable : public Error {
 public:
  using Error::Error;
};

struct ClaimWish {
  std::string operator_name;             // who will be its first admin, e.g. user_name()
  std::vector<TokenRecord> tokens = {};  // Root::worker_token()'s records
};
enum class ClaimResult { done, was_ours };  // was_ours: claimed before, by this root

// One try, blocking. Throws Unreachable while nothing answers there; any other Error means that trying again
// can't help: another root's head, someone in between, a wrong token, a clock that is off.
ClaimResult claim_head(const HostPort& head, const Root& root, const Token& token, const ClaimWish& wish,
                       std::chrono::milliseconds timeout = std::chrono::seconds(15));
// This user's name as an operator's: of $USER, what fits; else "operator".
std::string user_name();

}  // namespace rayctl::cluster
