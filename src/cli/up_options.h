// What `up` and `run` have in common: a deployment from a file or from options, and the settings beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "fleet/up.h"

namespace rayctl::cli {

struct UpOptions {
  std::optional<std::string> file, provider, image, name_space, region, size, head_size, machine_image,
      project, network, endpoint, prices, overlay, prefix, registry_auth, registry_ca, binary, binary_url,
      binary_sha256, user_data_format, address_service;
  std::optional<uint64_t> workers, disk;
  bool spot = false;
  std::vector<std::string> ssh_keys, admin_cidrs, insecure_registries;
};

std::vector<Argument> deployment_arguments(UpOptions& options);
std::vector<Argument> setting_arguments(UpOptions& options);
// Evaluates the spec, or makes a deployment of the options; resolves keys. A UsageError for options that
// don't go together.
fleet::UpWish up_wish(const UpOptions& options);

}  // namespace rayctl::cli
