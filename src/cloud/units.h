// The systemd units of a node: names and texts, in this one place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::cloud {

inline constexpr std::string_view node_unit = "rayctl-node.service";  // the supervisor
inline constexpr std::string_view pods_unit = "rayctl-pods.service";  // shims and containers
inline constexpr std::string_view unit_directory = "/etc/systemd/system";
inline constexpr std::string_view default_binary = "/usr/local/bin/rayctl";

struct Unit {
  std::string_view name;
  std::string text;
};

// Both units for a rayctl at `binary`; `prepare` (a shell script's path, or empty) runs before the first of
// them starts. They are ordered after network-online.target, never after cloud-init's units: those have other
// names from release to release, and its last one waits for what user-data starts.
std::vector<Unit> node_units(std::string_view binary = default_binary, std::string_view prepare = {});

}  // namespace rayctl::cloud
