// From limits to writes into cgroup files: pure.
#pragma once

#include <string>
#include <vector>

#include "run/cgroup_mounts.h"
#include "run/spec.h"

namespace rayctl::run {

struct CgroupFile {
  std::string name, text;
};

// One write; of several `choices` the first file that this kernel has.
struct CgroupWrite {
  std::string controller;  // "cgroup" = the v2 core
  std::vector<CgroupFile> choices;
  enum class Absent { fail, warn, skip };
  Absent absent = Absent::fail;  // when the kernel has none of the files
};

struct LimitPlan {
  std::vector<CgroupWrite> writes =
      {};  // in this order; one that is refused with EINVAL is tried again at the end
  std::vector<std::string> missing = {};  // "memory limit": what no mounted controller can do
  bool device_program = false;            // resources.devices need an eBPF program (v2)
};

LimitPlan plan_limits(const Resources& resources, const CgroupMounts& mounts);

// docker's 1024 becomes v2's 100; both ends of the ranges meet (2 -> 1, 262144 -> 10000). The curve is the
// one that crun and runc use since 2025.
uint64_t cpu_weight(uint64_t shares);

// v1's device files: "devices.deny" / "devices.allow" lines. An error for rules that the kernel would
// silently not honour: a denial inside a wider permission.
std::vector<CgroupFile> legacy_device_rules(const std::vector<DeviceRule>& rules);

}  // namespace rayctl::run
