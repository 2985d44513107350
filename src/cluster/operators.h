// People that may use a cluster from elsewhere, by name.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/ca.h"

namespace rayctl::cluster {

// One operator as the head keeps it. Removed ones are kept as long as their certificates could be good.
struct OperatorRecord {
  std::string name;
  MemberRole role = MemberRole::operator_;  // or admin
  WallTime added;
  WallTime removed = {};  // certificates made up to then are worthless; the epoch: never removed
  bool active = true;
};
nlohmann::json to_json(const OperatorRecord& record);
OperatorRecord parse_operator(const Json& json);

// Pure data: the owner journals each record that a call returns.
class OperatorStore {
 public:
  // Throws when there is one of that name. `now` must be what the certificate is made with.
  const OperatorRecord& add(std::string_view name, MemberRole role, WallTime now);
  const OperatorRecord& remove(std::string_view name, WallTime now);  // throws when there is none
  const OperatorRecord* find(std::string_view name) const;            // also removed ones

  // Why the certificate of a named operator isn't taken; empty: it is. One that the cluster's own root signed
  // needs no record here: that is how the first operator comes in.
  enum class SignedBy { authority, root };
  std::string refusal(const CertificateInfo& certificate, SignedBy by) const;

  void put(OperatorRecord record);  // from the journal
  void forget_old(WallTime now);
  std::vector<OperatorRecord> list() const;  // by name, also removed ones

 private:
  std::map<std::string, OperatorRecord, std::less<>> records_;
};

}  // namespace rayctl::cluster
