// The options of a mount in config.json, told apart: what the mount is, what its file system gets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

struct MountOptions {
  bool bind = false, recursive = false;  // bind, rbind
  bool remount = false;
  bool copy_up = false;                             // tmpcopyup: a tmpfs begins with what it hides
  uint64_t set = 0, clear = 0;                      // MOUNT_ATTR_… of this mount
  uint64_t recursive_set = 0, recursive_clear = 0;  // of it and all below it (rro, rnosuid, …)
  uint64_t propagation = 0;                         // MS_SHARED, … ; 0 = as it is
  bool recursive_propagation = false;
  // For the file system: a flag ("nr_inodes" without value) or a key with its value.
  std::vector<std::pair<std::string, std::optional<std::string>>> data = {};
};

// Refuses by name what rayctl can't do (idmap, ridmap) and, for binds, what no bind mount has.
MountOptions parse_mount_options(const Mount& mount);

std::vector<std::string> known_mount_options();  // those that are rayctl's own to understand, sorted

std::string describe_attributes(uint64_t attributes);  // "ro,nosuid"

}  // namespace rayctl::run
