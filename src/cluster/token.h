// Join tokens: what lets a new machine or person into a cluster, once or a few times, for a short while.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace rayctl::cluster {

using WallTime = std::chrono::sys_seconds;
WallTime wall_now();

// What a certificate or token lets its holder be. `operator_` may ps, logs, exec, cp, stop; `admin` may
// everything.
enum class MemberRole { head, worker, operator_, admin };
std::string_view role_name(MemberRole role);  // "head", "worker", "operator", "admin"
std::optional<MemberRole> role_by_name(std::string_view name);

// `rctl1.<base64url sha256 of the CA's SubjectPublicKeyInfo>.<role>.<id>.<secret>`
struct Token {
  std::string ca_pin;  // 43 characters of base64url
  MemberRole role = MemberRole::worker;
  std::string id;      // 8 of [a-z0-9]; public: listings and logs may show it
  std::string secret;  // 43 characters of base64url (32 random bytes)
};

// Surrounding white space is ignored. Errors name the part that is wrong, never what it holds.
Token parse_token(std::string_view text);
std::string format_token(const Token& token);
// A token of role head: the one that a head without a cluster and its operator both know (cluster/claim.h).
Token make_claim_token(std::string ca_pin);

// From a file (`-` = stdin, read to its end), or from RAYCTL_TOKEN when `file` is empty; empty when there is
// neither. A file that others than its owner may read gives a warning.
std::optional<Token> read_token(const std::string& file);

// What the head keeps of a token: the secret only as its hash.
struct TokenRecord {
  std::string id;
  MemberRole role = MemberRole::worker;
  std::string secret_hash;  // hex sha256
  WallTime created, expires;
  uint32_t uses_allowed = 1;
  uint32_t uses = 0;
  bool revoked = false;
};

nlohmann::json to_json(const TokenRecord& record);
TokenRecord parse_token_record(const Json& json);

// "valid", "expired", "used up", "revoked"
std::string_view token_state(const TokenRecord& record, WallTime now);

// All tokens of a cluster. Pure data: the owner journals each record that a call returns.
class TokenStore {
 public:
  struct Created {
    Token token;
    TokenRecord record;
  };
  // A token of `role`; lifetime 1 s .. 365 d, uses 1 .. 100000. A head can't be admitted by token: an error.
  Created create(std::string ca_pin, MemberRole role, std::chrono::seconds lifetime, uint32_t uses,
                 WallTime now);

  // Checks id, secret, role, lifetime, uses and revocation, in this order; throws an Error that says which
  // one and what makes a new token. Unknown id and wrong secret give the same text.
  // Use::again: a node that was admitted before repeats its join, because the answer got lost; uses aren't
  // checked.
  enum class Use { first, again };
  const TokenRecord& verify(std::string_view id, std::string_view secret, MemberRole role, WallTime now,
                            Use use = Use::first) const;

  const TokenRecord& count_use(
      std::string_view id);  // after the node was admitted; returns the record to journal
  const TokenRecord& revoke(std::string_view id);  // an id or a unique prefix; throws when there is none
  bool revoked(std::string_view id) const;         // also when the token was forgotten

  // One that an admin made elsewhere. Known already: its end is taken over, uses and revocation stay. Throws
  // for another secret or role under a known id, role head, and limits that create() has too.
  void adopt(TokenRecord record, WallTime now);
  void put(TokenRecord record);  // from the journal
  // Drops those that can't be used any more for `keep`: the list stays short. Operators' certificates hang on
  // their token's revocation, so a token of theirs is kept for as long as its certificates last.
  void forget_old(WallTime now, std::chrono::seconds keep);
  std::vector<TokenRecord> list() const;  // oldest first

 private:
  std::map<std::string, TokenRecord, std::less<>> records_;
};

}  // namespace rayctl::cluster
