// The OCI runtime specification (1.2) as data, with what rayctl adds to it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace rayctl::run {

struct User {
  uint32_t uid = 0, gid = 0;
  std::optional<uint32_t> umask = {};
  std::vector<uint32_t> additional_gids = {};
};

// One bit per capability number; see capabilities.h for names.
struct Capabilities {
  uint64_t bounding = 0, effective = 0, inheritable = 0, permitted = 0, ambient = 0;
};

struct Rlimit {
  std::string type;             // "RLIMIT_NOFILE"
  uint64_t soft = 0, hard = 0;  // RLIM_INFINITY = 2^64-1
};

struct ConsoleSize {
  uint16_t height = 0, width = 0;
};

struct Scheduler {
  std::string policy;  // "SCHED_BATCH"
  int32_t nice = 0, priority = 0;
  std::vector<std::string> flags = {};  // "SCHED_FLAG_RESET_ON_FORK"
  uint64_t runtime = 0, deadline = 0, period = 0;
};

struct IoPriority {
  std::string policy;  // "IOPRIO_CLASS_BE"
  int priority = 0;
};

// `process` of config.json, and the whole document of `exec --process`.
struct ProcessSpec {
  bool terminal = false;
  std::optional<ConsoleSize> console_size = {};
  User user = {};
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};
  std::string cwd = "/";
  std::vector<std::string> unknown_capabilities =
      {};                                         // of config.json: left out, with a warning at the start
  std::optional<Capabilities> capabilities = {};  // empty: none are kept, as the specification says
  std::vector<Rlimit> rlimits = {};
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj = {};
  std::optional<Scheduler> scheduler = {};
  std::optional<IoPriority> io_priority = {};
  std::string apparmor_profile = {};
  std::string selinux_label = {};
};

struct Root {
  std::string path = "rootfs";  // relative to the bundle
  bool readonly = false;
};

struct IdMapping {
  uint32_t container_id = 0, host_id = 0, size = 0;
};

struct Mount {
  std::string destination;  // absolute, within the container
  std::string type = {};
  std::string source = {};
  std::vector<std::string> options = {};
};

struct Hook {
  std::string path;
  std::vector<std::string> args = {};
  std::vector<std::string> env = {};  // none: the runtime's own, as for runc and crun; never the container's
  std::optional<std::chrono::seconds> timeout = {};
};

struct Hooks {
  std::vector<Hook> prestart = {}, create_runtime = {}, create_container = {}, start_container = {},
                    poststart = {}, poststop = {};
};

enum class NamespaceType { mount, pid, network, ipc, uts, user, cgroup, time };

struct Namespace {
  NamespaceType type;
  std::string path = {};  // join this one; empty = make a new one
};

struct Device {
  char type = 'c';  // c, b, u (= c), p
  std::string path;
  int64_t major = 0, minor = 0;
  mode_t mode = 0666;
  uint32_t uid = 0, gid = 0;
};

struct DeviceRule {
  bool allow = false;
  char type = 'a';                                // a, b, c
  std::optional<int64_t> major = {}, minor = {};  // empty = all
  std::string access = "rwm";
};

struct MemoryLimits {
  std::optional<int64_t> limit = {}, reservation = {},
                         swap = {};  // bytes; -1 = unlimited; swap = memory + swap
  std::optional<uint64_t> swappiness = {};
  bool disable_oom_killer = false;
  bool check_before_update = false;
};

struct CpuLimits {
  std::optional<uint64_t> shares = {};
  std::optional<int64_t> quota = {};  // microseconds per period; -1 = unlimited
  std::optional<uint64_t> period = {}, burst = {};
  std::optional<int64_t> realtime_runtime = {};
  std::optional<uint64_t> realtime_period = {};
  std::optional<int64_t> idle = {};
  std::string cpus = {}, mems = {};
};

struct BlockDeviceRate {
  int64_t major = 0, minor = 0;
  uint64_t rate = 0;  // bytes or operations a second
};

struct BlockDeviceWeight {
  int64_t major = 0, minor = 0;
  std::optional<uint16_t> weight = {}, leaf_weight = {};
};

struct BlockLimits {
  std::optional<uint16_t> weight = {}, leaf_weight = {};
  std::vector<BlockDeviceWeight> device_weights = {};
  std::vector<BlockDeviceRate> read_bps = {}, write_bps = {}, read_iops = {}, write_iops = {};
};

struct HugepageLimit {
  std::string page_size;  // "2MB"
  uint64_t limit = 0;
};

struct NetworkLimits {
  std::optional<uint32_t> class_id = {};
  std::map<std::string, uint32_t> priorities = {};
};

struct RdmaLimit {
  std::optional<uint32_t> handles = {}, objects = {};
};

struct Resources {
  MemoryLimits memory = {};
  CpuLimits cpu = {};
  std::optional<int64_t> pids_limit = {};  // <= 0 = unlimited
  BlockLimits block = {};
  std::vector<HugepageLimit> hugepages = {};
  NetworkLimits network = {};
  std::map<std::string, RdmaLimit> rdma = {};
  std::vector<DeviceRule> devices = {};
  std::map<std::string, std::string> unified = {};  // cgroup v2 file -> content
};

struct SeccompArg {
  uint32_t index = 0;
  uint64_t value = 0, value_two = 0;
  std::string op;  // "SCMP_CMP_EQ"
};

struct SeccompRule {
  std::vector<std::string> names;
  std::string action;
  std::optional<uint32_t> errno_ret = {};
  std::vector<SeccompArg> args = {};
};

struct SeccompProfile {
  std::string default_action;  // "SCMP_ACT_ERRNO"
  std::optional<uint32_t> default_errno = {};
  std::vector<std::string> architectures = {};
  std::vector<std::string> flags = {};
  std::vector<SeccompRule> syscalls = {};
  std::string listener_path = {};  // the agent's socket, for SCMP_ACT_NOTIFY
  std::string listener_metadata = {};
};

struct TimeOffset {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
};

struct Linux {
  std::vector<Namespace> namespaces = {};
  std::vector<IdMapping> uid_mappings = {}, gid_mappings = {};
  std::vector<Device> devices = {};
  std::string cgroups_path = {};
  Resources resources = {};
  std::map<std::string, std::string> sysctl = {};
  std::optional<SeccompProfile> seccomp = {};
  std::string rootfs_propagation = {};  // "", "private", "slave", "shared", "unbindable" and their r… forms
  std::vector<std::string> masked_paths = {}, readonly_paths = {};
  std::string mount_label = {};
  std::optional<uint64_t> personality = {};             // a PER_… value
  std::map<std::string, TimeOffset> time_offsets = {};  // "monotonic", "boottime"
};

// rayctl's own: the root filesystem is an overlay that is mounted inside the container's mount namespace
// alone.
struct Overlay {
  std::vector<std::string> lowerdirs;  // bottom first, absolute
  std::string upper = {}, work = {};   // absolute; both empty = a read-only root
};

struct Spec {
  std::string oci_version = "1.2.0";
  ProcessSpec process = {};
  Root root = {};
  std::string hostname = {}, domainname = {};
  std::vector<Mount> mounts = {};
  Hooks hooks = {};
  std::map<std::string, std::string> annotations = {};
  Linux linux_ = {};

  // Written below the key "rayctl", which other runtimes ignore.
  std::optional<Overlay> overlay = {};  // in place of root.path
  bool default_seccomp =
      false;            // the engines' default profile for these capabilities; excludes linux_.seccomp
  bool strict = false;  // fail instead of degrading with a warning (rlimits, oom_score_adj)
};

// Checks every value and refuses by name what rayctl can't do; keys that the specification doesn't know are
// ignored, as it demands.
Spec parse_spec(const Json& document);
ProcessSpec parse_process(const Json& document);
Resources parse_resources(const Json& document);  // `linux.resources`; also the input of `update --resources`

nlohmann::json to_json(const Spec& spec);
nlohmann::json to_json(const ProcessSpec& process);
nlohmann::json to_json(const Resources& resources);
nlohmann::json to_json(const SeccompProfile& profile);

std::string to_text(const Spec& spec);  // config.json

bool has_namespace(const Spec& spec, NamespaceType type);
// False when it uses the runtime's mount namespace or joins another: what is mounted for it stays when it
// ends.
bool has_own_mounts(const Spec& spec);
const char* name_of(NamespaceType type);  // "mount", as config.json has it

}  // namespace rayctl::run
