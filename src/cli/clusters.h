// What `machines` and `containers` have in common: each cluster that was booted from here, as it is now.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "cli/command.h"
#include "fleet/up.h"

namespace rayctl::cli {

struct ClusterForm {
  std::function<nlohmann::json(const fleet::ClusterLook&)> json;  // one element of the list with -o json
  std::function<void(fleet::ClusterLook&)> print;                 // its lines
};

// `listing` lacks the arguments and what to run: NAMESPACE, and -o.
Command list_clusters(Command listing, ClusterForm form);

}  // namespace rayctl::cli
