#include "cluster/operators.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::cluster {

namespace {

constexpr size_t most_operators = 1000;

WallTime time_at(const Json& json, const char* key) {
  return WallTime(std::chrono::seconds(json.at(key).integer()));
}

}  // namespace

nlohmann::json to_json(const OperatorRecord& record) {
  return {{"name", record.name},
          {"role", role_name(record.role)},
          {"added", record.added.time_since_epoch().count()},
          {"removed", record.removed.time_since_epoch().count()},
          {"active", record.active}};
}

OperatorRecord parse_operator(const Json& json) {
  OperatorRecord record;
  record.name = json.at("name").string();
  operator_id(record.name);
  std::optional<MemberRole> role = role_by_name(json.at("role").string());
  if (role != MemberRole::operator_ && role != MemberRole::admin)
    throw Error("{}: expected operator or admin", json.at("role").path());
  record.role = *role;
  record.added = time_at(json, "added");
  record.removed = time_at(json, "removed");
  record.active = json.at("active").boolean();
  return record;
}

const OperatorRecord& OperatorStore::add(std::string_view name, MemberRole role, WallTime now) {
  operator_id(name);  // throws for a name that is none
  if (role != MemberRole::operator_ && role != MemberRole::admin)
    throw Error("cannot add operator '{}': the role is operator or admin", name);
  auto it = records_.find(name);
  if (it != records_.end() && it->second.active)
    throw Error("cannot add operator '{}': there is one of that name (rayctl operators rm {})", name, name);
  if (it == records_.end() && records_.size() >= most_operators)
    throw Error("cannot add operator '{}': there are {} already", name, records_.size());
  OperatorRecord& record = records_[std::string(name)];
  if (now <= record.removed)
    throw Error("cannot add operator '{}': it was removed in this very second (try again)", name);
  record.name = name;
  record.role = role;
  record.added = now;
  record.active = true;
  return record;
}

const OperatorRecord& OperatorStore::remove(std::string_view name, WallTime now) {
  auto it = records_.find(name);
  if (it == records_.end() || !it->second.active)
    throw Error("cannot remove operator '{}': there is none (rayctl operators)",
                printable(name.substr(0, 64)));
  it->second.active = false;
  it->second.removed = now;
  return it->second;
}

const OperatorRecord* OperatorStore::find(std::string_view name) const {
  auto it = records_.find(name);
  return it == records_.end() ? nullptr : &it->second;
}

std::string OperatorStore::refusal(const CertificateInfo& certificate, SignedBy by) const {
  std::string name = operator_name(certificate.identity.id).value_or("");
  const OperatorRecord* record = find(name);
  if (!record)
    return by == SignedBy::root ? "" : fmt::format("operator '{}' is unknown to this cluster", name);
  // Authorities date a certificate back by this much.
  WallTime made = certificate.not_before + CertificateTimes{}.backdate;
  if (!record->active || made <= record->removed)
    return fmt::format("operator '{}' was removed from this cluster", name);
  if (certificate.identity.role == MemberRole::admin && record->role != MemberRole::admin)
    return fmt::format("operator '{}' is no admin any more", name);
  return "";
}

void OperatorStore::put(OperatorRecord record) {
  std::string name = record.name;
  records_[std::move(name)] = std::move(record);
}

void OperatorStore::forget_old(WallTime now) {
  for (auto it = records_.begin(); it != records_.end();) {
    bool dead =
        !it->second.active && now > it->second.removed + CertificateTimes{}.named_operators + max_clock_skew;
    it = dead ? records_.erase(it) : std::next(it);
  }
}

std::vector<OperatorRecord> OperatorStore::list() const {
  std::vector<OperatorRecord> all;
  for (const auto& [name, record] : records_) all.push_back(record);
  return all;
}

}  // namespace rayctl::cluster
