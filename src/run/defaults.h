// What an engine adds to the bare specification: the container that docker would make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

enum class NetworkMode { none, host, join };

struct Bind {
  std::string source, destination;
  bool readonly = true;
};

struct Defaults {
  std::optional<Overlay> overlay = {};
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};  // PATH, HOSTNAME and TERM are added when they are missing
  std::string cwd = "/";
  User user = {};
  bool terminal = false;
  std::string hostname = {};
  NetworkMode network = NetworkMode::none;
  std::string network_namespace = {};  // path, for NetworkMode::join
  std::string cgroups_path = {};       // "/rayctl-node/id"; empty = the caller's own cgroup
  Resources resources = {};            // `devices` beside docker's rules
  uint64_t shm_size = 64 << 20;        // bytes
  std::string init_binary = {};        // host path of the sealed copy: becomes PID 1 in front of args
  std::vector<Bind> binds = {};        // /etc/hosts, /etc/resolv.conf, …
  uint64_t extra_capabilities = 0;     // bits, as capability_number has them
  std::vector<Rlimit> rlimits = {};    // without RLIMIT_NOFILE: as many files as our own hard limit allows
};

inline constexpr const char* init_path_in_container = "/.rayctl/rayctl";

// The mounts, devices, masks, capabilities, rlimits and seccomp profile of docker; all namespaces but user
// and time are new (network as asked). /sys/fs/cgroup shows the container's own limits on v1 and v2.
Spec default_spec(const Defaults& defaults);

// Adds to a non-empty list of device rules those for what every container has (config-linux.md, default
// devices; ptys): engines leave them to the runtime.
void allow_default_devices(Resources& resources);

// A read-only lower directory that holds the mount points of default_spec (and of `binds`), so that starting
// a container leaves no stub in the overlay's upper directory. Made once below `run_dir`; put it first in
// `lowerdirs`.
std::string mount_points_layer(const std::string& run_dir, const std::vector<Bind>& binds = {});

}  // namespace rayctl::run
