// Where the machine's control groups are mounted: v2, v1, or both (hybrid). Every layout is a list of
// hierarchies.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::run {

// One mounted hierarchy: the v2 tree, or a v1 tree with the controllers that it owns.
struct Hierarchy {
  enum class Version { v1, v2 };
  Version version = Version::v2;
  std::string mount;                          // "/sys/fs/cgroup/memory"
  std::string root = "/";                     // the part of the hierarchy that is mounted there
  std::string own = "/";                      // the calling process's cgroup in it
  std::vector<std::string> controllers = {};  // "memory", "cpu", …; a named v1 hierarchy has "name=systemd"

  bool has(std::string_view controller) const;
  std::string directory(std::string_view path) const;  // of the cgroup `path` (absolute in the hierarchy)
};

struct CgroupMounts {
  std::vector<Hierarchy> hierarchies = {};

  const Hierarchy* find(std::string_view controller) const;  // who owns it; null when nobody does
  const Hierarchy* unified() const;                          // the v2 tree; null when it isn't mounted
  // Ray and the container's mounts see v1 files when `memory` is a v1 controller (v1 and hybrid).
  bool legacy() const;
  std::vector<std::string> legacy_controllers() const;  // of all v1 hierarchies but named ones
};

// Of /proc/self/mountinfo and /proc/self/cgroup. The controllers of the v2 tree are left empty: they stand in
// a file of the tree. A hierarchy that is mounted more than once counts where it shows most.
CgroupMounts parse_cgroup_mounts(std::string_view mountinfo, std::string_view own);

CgroupMounts observe_cgroup_mounts();  // of this process, in its mount and cgroup namespaces

}  // namespace rayctl::run
