#include "cluster/claim.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/file.h"
#include "cluster/operators.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_tokens = 100, max_claim_file = 1 << 20;

}  // namespace

std::string claim_proof(const Token& token, ClaimSide side, std::string_view exporter, std::string_view csr) {
  // The lengths of the first two are fixed: nothing can be moved from one part into another.
  std::string text = side == ClaimSide::operator_ ? "operator" : "head    ";
  text += exporter;
  text += csr;
  return base64url(hmac_sha256(token.secret, text));
}

nlohmann::json to_json(const ClaimRecord& record) {
  nlohmann::json tokens = nlohmann::json::array();
  for (const TokenRecord& token : record.tokens) tokens.push_back(to_json(token));
  return {{"cluster", record.cluster},
          {"operator", record.operator_name},
          {"when", record.when.time_since_epoch().count()},
          {"tokens", std::move(tokens)}};
}

ClaimRecord parse_claim(const Json& json) {
  ClaimRecord record;
  record.cluster = json.at("cluster").string();
  record.operator_name = json.at("operator").string();
  operator_id(record.operator_name);
  if (!parse_identity(format_identity({record.cluster, MemberRole::head, "x"})))
    throw Error("{}: not a cluster's id", json.at("cluster").path());
  record.when = WallTime(std::chrono::seconds(json.at("when").integer()));
  for (const Json& token : json.at("tokens").items()) {
    if (record.tokens.size() >= max_tokens)
      throw Error("{}: more than {} tokens", json.at("tokens").path(), max_tokens);
    record.tokens.push_back(parse_token_record(token));
    if (record.tokens.back().role == MemberRole::head) throw Error("{}: a token of role head", token.path());
  }
  return record;
}

std::optional<ClaimRecord> read_claim(const std::string& cluster_directory) {
  std::string path = join(cluster_directory, "claim.json");
  auto text = read_file_if_exists(path, max_claim_file);
  if (!text) return std::nullopt;
  return parse_claim(Json::parse(*text, path));
}

std::string user_name() {
  const char* user = std::getenv("USER");
  std::string name;
  for (const char* c = user ? user : ""; *c && name.size() < 32; ++c) {
    char lower = *c >= 'A' && *c <= 'Z' ? static_cast<char>(*c + 32) : *c;
    bool fits = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (fits || (!name.empty() && name.back() != '-')) name += fits ? lower : '-';
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "operator" : name;
}

}  // namespace rayctl::cluster
