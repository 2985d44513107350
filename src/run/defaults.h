// What an engine adds to the bare specification: the container that docker would make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

enum class CgroupLayout { unified, legacy };  // legacy: v1, also in its hybrid form
enum class NetworkMode { none, host, join };

struct Bind {
  std::string source, destination;
  bool readonly = true;
};

struct Defaults {
  std::optional<Overlay> overlay = {};
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};
  std::string cwd = "/";
  User user = {};
  bool terminal = false;
  std::string hostname = {};
  NetworkMode network = NetworkMode::none;
  std::string network_namespace = {};  // path, for NetworkMode::join
  std::string cgroups_path = {};       // "/rayctl-node/id"
  CgroupLayout cgroup_layout = CgroupLayout::unified;
  std::vector<std::string> legacy_controllers =
      {};  // of CgroupLayout::legacy, as mounted: "cpu", "memory", …
  Resources resources = {};
  uint64_t shm_size = 64 << 20;  // bytes
  std::string init_binary =
      {};  // host path of the sealed copy; becomes PID 1 (init_path_in_container) in front of args
  std::vector<Bind> binds = {};                      // /etc/hosts, /etc/resolv.conf, …
  std::vector<std::string> extra_capabilities = {};  // "CAP_SYS_PTRACE"
  std::vector<Rlimit> rlimits = {};                  // clamped to our own hard limits with a warning
};

inline constexpr const char* init_path_in_container = "/.rayctl/rayctl";

// The mounts, devices, masks, capabilities, rlimits and seccomp profile of docker; all namespaces but user
// and time are new (network as asked).
Spec default_spec(const Defaults& defaults);

// A read-only lower directory that holds the mount points of default_spec (and of `binds`), so that starting
// a container leaves no stub in the overlay's upper directory. Made once below `run_dir`; put it first in
// `lowerdirs`.
std::string mount_points_layer(const std::string& run_dir, const std::vector<Bind>& binds = {});

}  // namespace rayctl::run
