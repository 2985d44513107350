// The logins and CAs that an operator gave the cluster for its registries: kept by the head, used by all
// nodes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/paths.h"
#include "cluster/control_requests.h"
#include "ray/image_access.h"

namespace rayctl::ray {

nlohmann::json to_json(const RegistryAccess& access);  // with the secrets
RegistryAccess parse_registry_access(const Json& json);

// cluster/registries.json (0600), replaced whole; it never goes into the journal, the view or a listing.
class Registries {
 public:
  explicit Registries(const Paths& paths);
  std::optional<RegistryAccess> find(const std::string& host) const;
  std::vector<std::string> hosts() const;
  void set(const std::string& host, const RegistryAccess& access);
  void remove(const std::string& host);  // throws when there is none

 private:
  nlohmann::json load() const;
  void save(const nlohmann::json& all) const;
  std::string path_;
};

// registry.set {host, username, password, identity_token, ca}, registry.rm {host}, registries (admins; hosts
// alone are listed), registry.get {host} (nodes).
void register_registry_requests(cluster::RequestTable& requests, const Paths& paths);

}  // namespace rayctl::ray
