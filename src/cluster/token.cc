#include "cluster/token.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

namespace rayctl::cluster {

namespace {

constexpr std::string_view new_token_line = "rayctl token create --role worker --ttl 1h --uses N";
constexpr size_t id_size = 8, pin_size = 43, secret_size = 43;

bool valid_id(std::string_view id) {
  return id.size() == id_size && std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

bool valid_digest(std::string_view text, size_t size) {
  return text.size() == size && decode_base64url(text).has_value();
}

std::string random_id() {
  constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz234567";
  std::string id = random_bytes(id_size);
  for (char& c : id) c = letters[static_cast<unsigned char>(c) & 31];
  return id;
}

WallTime parse_time(const Json& json) {
  return WallTime(std::chrono::seconds(json.integer()));
}

}  // namespace

WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string_view role_name(MemberRole role) {
  switch (role) {
    case MemberRole::head:
      return "head";
    case MemberRole::worker:
      return "worker";
    case MemberRole::operator_:
      return "operator";
    case MemberRole::admin:
      return "admin";
  }
  return "";
}

std::optional<MemberRole> role_by_name(std::string_view name) {
  for (MemberRole role : {MemberRole::head, MemberRole::worker, MemberRole::operator_, MemberRole::admin})
    if (role_name(role) == name) return role;
  return std::nullopt;
}

Token parse_token(std::string_view text) {
  text = trim(text);
  if (text.empty()) throw Error("cannot read the join token: it is empty");
  if (text.size() > 512) throw Error("cannot read the join token: it is longer than any token");
  if (text.substr(0, 6) != "rctl1.")
    throw Error("cannot read the join token: it doesn't begin with 'rctl1.' (was all of it copied?)");
  std::vector<std::string> parts = split(text, '.');
  if (parts.size() != 5)
    throw Error("cannot read the join token: it has {} parts, not 5 (was all of it copied?)", parts.size());
  Token token{.ca_pin = parts[1], .id = parts[3], .secret = parts[4]};
  if (!valid_digest(token.ca_pin, pin_size))
    throw Error("cannot read the join token: its 2nd part isn't the hash of a cluster's key");
  std::optional<MemberRole> role = role_by_name(parts[2]);
  if (!role)
    throw Error("cannot read the join token: its role '{}' is none of head, worker, operator, admin",
                printable(parts[2].substr(0, 32)));
  token.role = *role;
  if (!valid_id(token.id)) throw Error("cannot read the join token: its 4th part isn't a token's id");
  if (!valid_digest(token.secret, secret_size))
    throw Error("cannot read the join token: its secret is damaged (was all of it copied?)");
  return token;
}

std::string format_token(const Token& token) {
  return fmt::format("rctl1.{}.{}.{}.{}", token.ca_pin, role_name(token.role), token.id, token.secret);
}

Token make_claim_token(std::string ca_pin) {
  return {.ca_pin = std::move(ca_pin),
          .role = MemberRole::head,
          .id = random_id(),
          .secret = base64url(random_bytes(32))};
}

std::optional<Token> read_token(const std::string& file) {
  constexpr size_t limit = 4096;
  if (file == "-") return parse_token(read_fd(0, "stdin", limit));
  if (!file.empty()) {
    std::string text = read_file(file, limit);
    if (auto found = status(file); found && S_ISREG(found->st_mode) && (found->st_mode & 077) != 0)
      warn("the token file '{}' can be read by others: chmod 600 it", file);
    try {
      return parse_token(text);
    } catch (Error& e) {
      e.prefix("reading '{}'", file);
      throw;
    }
  }
  const char* environment = std::getenv("RAYCTL_TOKEN");
  if (!environment || !*environment) return std::nullopt;
  try {
    return parse_token(environment);
  } catch (Error& e) {
    e.prefix("reading RAYCTL_TOKEN");
    throw;
  }
}

nlohmann::json to_json(const TokenRecord& record) {
  return {{"id", record.id},
          {"role", role_name(record.role)},
          {"secret_hash", record.secret_hash},
          {"created", record.created.time_since_epoch().count()},
          {"expires", record.expires.time_since_epoch().count()},
          {"uses_allowed", record.uses_allowed},
          {"uses", record.uses},
          {"revoked", record.revoked}};
}

TokenRecord parse_token_record(const Json& json) {
  TokenRecord record;
  record.id = json.at("id").string();
  auto role = role_by_name(json.at("role").string());
  if (!valid_id(record.id) || !role) throw Error("{}: not a token's record", json.path());
  record.role = *role;
  record.secret_hash = json.at("secret_hash").string();
  record.created = parse_time(json.at("created"));
  record.expires = parse_time(json.at("expires"));
  auto count = [&](std::string_view key) {
    return static_cast<uint32_t>(
        std::min<uint64_t>(json.at(key).size(), std::numeric_limits<uint32_t>::max()));
  };
  record.uses_allowed = count("uses_allowed");
  record.uses = count("uses");
  record.revoked = json.at("revoked").boolean();
  return record;
}

std::string_view token_state(const TokenRecord& record, WallTime now) {
  if (record.revoked) return "revoked";
  if (now >= record.expires) return "expired";
  if (record.uses >= record.uses_allowed) return "used up";
  return "valid";
}

TokenStore::Created TokenStore::create(std::string ca_pin, MemberRole role, std::chrono::seconds lifetime,
                                       uint32_t uses, WallTime now) {
  using std::chrono::hours, std::chrono::seconds;
  if (role == MemberRole::head)
    throw Error("cannot create a token of role 'head': a cluster has one head, the one that made it");
  if (lifetime < seconds(1) || lifetime > hours(365 * 24))
    throw Error("cannot create a token that lasts {}s: from 1s to 365 days is possible", lifetime.count());
  if (uses < 1 || uses > 100000)
    throw Error("cannot create a token for {} uses: from 1 to 100000 is possible", uses);
  if (records_.size() >= 10000)
    throw Error("cannot create a token: the cluster has {} of them", records_.size());
  Created made;
  do made.token.id = random_id();
  while (records_.count(made.token.id));
  made.token.ca_pin = std::move(ca_pin);
  made.token.role = role;
  made.token.secret = base64url(random_bytes(32));
  made.record = {.id = made.token.id,
                 .role = role,
                 .secret_hash = hex(sha256(made.token.secret)),
                 .created = now,
                 .expires = now + lifetime,
                 .uses_allowed = uses};
  records_[made.record.id] = made.record;
  return made;
}

void TokenStore::adopt(TokenRecord record, WallTime now) {
  using std::chrono::hours;
  if (record.role == MemberRole::head) throw Error("cannot take a token of role 'head'");
  if (record.expires > now + hours(365 * 24) || record.uses_allowed < 1 || record.uses_allowed > 100000)
    throw Error("cannot take token {}: at most 365 days and 100000 uses are possible", record.id);
  auto it = records_.find(record.id);
  if (it == records_.end()) {
    if (records_.size() >= 10000) throw Error("cannot take a token: the cluster has {}", records_.size());
    record.uses = 0;
    record.revoked = false;
    records_[record.id] = std::move(record);
    return;
  }
  if (it->second.secret_hash != record.secret_hash || it->second.role != record.role)
    throw Error("cannot take token {}: there is another one of that id", record.id);
  it->second.expires = record.expires;
  it->second.uses_allowed = std::max(it->second.uses_allowed, record.uses_allowed);
}

const TokenRecord& TokenStore::verify(std::string_view id, std::string_view secret, MemberRole role,
                                      WallTime now, Use use) const {
  auto it = records_.find(id);
  // The same work and the same words for both: nobody learns which ids exist.
  std::string known = it == records_.end() ? hex(sha256("")) : it->second.secret_hash;
  if (!equal_secrets(known, hex(sha256(secret))) || it == records_.end())
    throw Error("the token is not one of this cluster's (on the head, make a new one: {})", new_token_line);
  const TokenRecord& record = it->second;
  if (record.role != role)
    throw Error("the token is for role {}, not {} (a token of one role never admits another)",
                role_name(record.role), role_name(role));
  if (record.revoked)
    throw Error("the token {} was revoked (on the head, make a new one: {})", record.id, new_token_line);
  if (now >= record.expires)
    throw Error("the token {} expired {} ago (on the head, make a new one: {})", record.id,
                human_duration(now - record.expires), new_token_line);
  if (use == Use::first && record.uses >= record.uses_allowed)
    throw Error("the token {} is used up: it was good for {} (on the head, make a new one: {})", record.id,
                record.uses_allowed == 1 ? "one use" : fmt::format("{} uses", record.uses_allowed),
                new_token_line);
  return record;
}

const TokenRecord& TokenStore::count_use(std::string_view id) {
  auto it = records_.find(id);
  if (it == records_.end()) throw Error("cannot count a use of token '{}': no such token", id);
  ++it->second.uses;
  return it->second;
}

const TokenRecord& TokenStore::revoke(std::string_view id) {
  auto it = records_.lower_bound(id);
  bool found = !id.empty() && it != records_.end() && std::string_view(it->first).substr(0, id.size()) == id;
  if (!found) throw Error("cannot revoke token '{}': no such token (rayctl token list)", printable(id));
  if (auto next = std::next(it);
      it->first != id && next != records_.end() && std::string_view(next->first).substr(0, id.size()) == id)
    throw Error("cannot revoke token '{}': several begin so (rayctl token list)", printable(id));
  it->second.revoked = true;
  return it->second;
}

bool TokenStore::revoked(std::string_view id) const {
  auto it = records_.find(id);
  return it == records_.end() || it->second.revoked;
}

void TokenStore::put(TokenRecord record) {
  std::string id = record.id;
  records_[std::move(id)] = std::move(record);
}

void TokenStore::forget_old(WallTime now, std::chrono::seconds keep) {
  std::erase_if(records_, [&](const auto& item) { return now >= item.second.expires + keep; });
}

std::vector<TokenRecord> TokenStore::list() const {
  std::vector<TokenRecord> all;
  for (const auto& [id, record] : records_) all.push_back(record);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.created < b.created; });
  return all;
}

}  // namespace rayctl::cluster
