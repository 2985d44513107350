// What `rayctl up` was told besides the deployment: kept with the cluster, so that the next run and the
// daemon do the same.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace rayctl::fleet {

struct Settings {
  std::string endpoint = {};     // of the cloud's API
  std::string prices_file = {};  // absolute
  std::string project = {}, network = {};
  std::vector<std::string> admin_cidrs = {};  // instead of the spec's AdminACL
  std::string address_service = {};           // says what "local" is

  std::string image = {};    // of the containers, when the deployment has none
  std::string overlay = {};  // empty: the node's own default
  std::string prefix = {};
  std::string registry_auth = {}, registry_ca = {};  // absolute; given to nodes over the control channel
  std::vector<std::string> insecure_registries = {};

  std::vector<std::string> local_images = {};  // names: each goes from image_store to the head as head:NAME
  std::string image_store = {};                // absolute

  std::string binary = {};                          // a file: the rayctl that machines run; empty = this one
  std::string binary_url = {}, binary_sha256 = {};  // where machines fetch it instead
  std::string user_data_format = {};                // empty = boothook
  uint16_t control_port = 7443;
  std::chrono::seconds stuck{300};        // a stage that lasts longer is reported, with the console's end
  std::chrono::seconds token_life{1800};  // of the tokens in user-data; made longer while machines still boot

  bool operator==(const Settings&) const = default;
};

nlohmann::json to_json(const Settings& settings);
Settings parse_settings(const Json& json);

}  // namespace rayctl::fleet
