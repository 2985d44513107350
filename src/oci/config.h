// An image's configuration: OCI image-spec config.md and docker's additions to it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "oci/digest.h"
#include "oci/platform.h"

namespace rayctl::oci {

// Times are nanoseconds; 0 = docker's default.
struct Healthcheck {
  std::vector<std::string> test = {};  // {"NONE"}, {"CMD", …}, {"CMD-SHELL", text}; empty = inherit
  int64_t interval = 0, timeout = 0, start_period = 0, start_interval = 0;
  int64_t retries = 0;

  bool operator==(const Healthcheck&) const = default;
};

struct History {
  std::string created = {}, created_by = {}, author = {}, comment = {};
  bool empty_layer = false;

  bool operator==(const History&) const = default;
};

// What a container of the image gets, and which layers it is made of. Empty = not set.
struct ImageConfig {
  Platform platform = {};
  std::string created = {};  // RFC 3339
  std::string author = {};

  std::string user = {};
  std::vector<std::string> env = {};  // "K=V", in the image's order
  std::vector<std::string> entrypoint = {}, cmd = {};
  std::string workdir = {};
  std::string stop_signal = {};
  std::map<std::string, std::string> labels = {};
  std::set<std::string> exposed_ports = {};  // "6379/tcp"
  std::set<std::string> volumes = {};
  std::optional<Healthcheck> healthcheck = {};
  std::vector<std::string> on_build = {};
  std::vector<std::string> shell = {};

  std::vector<Digest> diff_ids = {};
  std::vector<History> history = {};

  // Members that aren't listed above, as JSON text: kept when an image is derived from this one.
  std::map<std::string, std::string> other = {};         // of the document
  std::map<std::string, std::string> other_config = {};  // of its "config"

  bool operator==(const ImageConfig&) const = default;
};

ImageConfig parse_config(std::string_view json);
std::string to_json(
    const ImageConfig& config);  // one byte form: sorted keys, no blanks, unset members left out

// The chain ids of the image's layers, bottom first.
std::vector<Digest> chain_ids(const ImageConfig& config);

// The value of an environment variable, as the last entry of its name says.
std::optional<std::string> find_env(const ImageConfig& config, std::string_view name);

}  // namespace rayctl::oci
