// Where a node or a user keeps things.
#pragma once

#include <string>

namespace rayctl {

// The two roots of everything on disk; DESIGN.md lists what lies below them.
struct Paths {
  std::string state_dir;  // survives reboots: images, layers, containers, keys
  std::string run_dir;    // lost at reboot: sockets, network namespaces, locks
};

// As root /var/lib/rayctl and /run/rayctl; else $XDG_DATA_HOME/rayctl (~/.local/share/rayctl) and
// $XDG_RUNTIME_DIR/rayctl (/tmp/rayctl-UID). RAYCTL_STATE_DIR and RAYCTL_RUN_DIR override both.
Paths default_paths();

inline constexpr const char* system_state_dir = "/var/lib/rayctl";  // root's
inline constexpr const char* system_run_dir = "/run/rayctl";

bool running_as_root();

}  // namespace rayctl
