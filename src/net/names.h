// How rayctl's links and tables are named, so that each is recognised as ours, by us and by an operator.
#pragma once

#include <string>
#include <string_view>

namespace rayctl::net {

constexpr std::string_view bridge_prefix = "rayctl";    // "rayctl0", and VXLAN links "rayctl.4242"
constexpr std::string_view container_prefix = "rc";     // "rc" + 12 characters of the container's id
constexpr std::string_view build_prefix = "rcb-";       // "rcb-PID-N": a build step's link
constexpr std::string_view node_table_name = "rayctl";  // nftables: inet rayctl
constexpr std::string_view build_table_prefix = "rayctl-build-";  // nftables: inet rayctl-build-PID-N

inline bool is_build_link(std::string_view name) {
  return name.starts_with(build_prefix);
}

inline bool is_container_link(std::string_view name) {
  return name.size() == 14 && name.starts_with(container_prefix) && !is_build_link(name);
}

inline bool is_our_link(std::string_view name) {
  return name.starts_with(bridge_prefix) || is_container_link(name) || is_build_link(name);
}

}  // namespace rayctl::net
