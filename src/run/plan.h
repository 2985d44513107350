// What has to happen, in order, to turn a process in fresh namespaces into the container of a Spec: decided
// here without touching the system, done by rootfs.cc and process.cc.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "run/mount_options.h"
#include "run/spec.h"

namespace rayctl::run {

// A new file system on `destination`.
struct MountFileSystem {
  std::string type, source, destination;
  MountOptions options;
};

// A piece of the host's (or, with remount, of the container's own) tree on `destination`.
struct MountBind {
  std::string source, destination;
  MountOptions options;
};

// Other attributes for what is mounted on `destination` already.
struct Remount {
  std::string destination;
  MountOptions options;
};

// The container's own cgroup(s): the cgroup2 file system, or a read-only directory per v1 hierarchy.
struct MountCgroup {
  std::string destination;
  MountOptions options;
};

struct MakeDevice {
  Device device;
};

struct MakeSymlink {
  std::string target, path;
};

struct MakeConsole {};  // the pty's other end on /dev/console
struct MaskPath {
  std::string path;
};  // hidden behind an empty directory or /dev/null
struct ReadonlyPath {
  std::string path;
};
struct SetSysctl {
  std::string path, value;
};  // path below /proc/sys: "net/ipv4/ip_forward"
struct MakeDirectory {
  std::string path;
};  // the working directory, when the image lacks it

using Step = std::variant<MountFileSystem, MountBind, Remount, MountCgroup, MakeDevice, MakeSymlink,
                          MakeConsole, MaskPath, ReadonlyPath, SetSysctl, MakeDirectory>;

struct Plan {
  uint64_t clone_flags = 0;           // CLONE_NEW… of the namespaces made with the process
  bool new_cgroup_namespace = false;  // made later: its root is the cgroup that the process is in
  bool new_time_namespace = false;
  std::vector<std::pair<int, std::string>> joins = {};  // CLONE_NEW… flag and path, without pid
  std::string join_pid = {};
  uint64_t root_propagation = 0;   // MS_…: of everything, before the root is left
  uint64_t final_propagation = 0;  // of the container's root at the end; 0 = as it is
  std::vector<Step> steps = {};
};

// `bundle` completes relative sources of bind mounts.
Plan make_plan(const Spec& spec, const std::string& bundle);

int clone_flag(NamespaceType type);  // CLONE_NEW…

std::string describe(const Step& step);  // one line
std::string describe(const Plan& plan);  // for golden files and `--debug`

// "net.ipv4.ip_forward" -> "net/ipv4/ip_forward"; refuses what would change the host or leads out of
// /proc/sys.
std::string sysctl_path(const Spec& spec, const std::string& name);

std::string clean_path(std::string_view path);  // absolute, without "//", "." and ".."

}  // namespace rayctl::run
