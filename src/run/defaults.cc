#include "run/defaults.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/plan.h"

namespace rayctl::run {

namespace {

constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::vector<Mount> default_mounts(uint64_t shm_size) {
  std::vector<std::string> closed{"nosuid", "noexec", "nodev"};
  return {{"/proc", "proc", "proc", closed},
          {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
          {"/dev/pts",
           "devpts",
           "devpts",
           {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
          {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
          {"/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}},
          {"/dev/mqueue", "mqueue", "mqueue", closed},
          // Not noexec: Ray and CUDA map code from shared memory.
          {"/dev/shm", "tmpfs", "shm", {"nosuid", "nodev", "mode=1777", fmt::format("size={}", shm_size)}}};
}

std::vector<Namespace> default_namespaces(const Defaults& defaults) {
  std::vector<Namespace> list{{NamespaceType::mount},
                              {NamespaceType::pid},
                              {NamespaceType::ipc},
                              {NamespaceType::uts},
                              {NamespaceType::cgroup}};
  if (defaults.network == NetworkMode::none) list.push_back({NamespaceType::network});
  if (defaults.network == NetworkMode::join) {
    if (defaults.network_namespace.empty()) throw Error("cannot join a network namespace: no path was given");
    list.push_back({NamespaceType::network, defaults.network_namespace});
  }
  return list;
}

std::vector<std::string> complete_environment(const Defaults& defaults) {
  std::vector<std::string> env = defaults.env;
  auto add = [&](const std::string& name, const std::string& value) {
    bool there =
        std::any_of(env.begin(), env.end(), [&](const std::string& e) { return e.starts_with(name + "="); });
    if (!there) env.push_back(name + "=" + value);
  };
  add("PATH", default_path);
  if (!defaults.hostname.empty()) add("HOSTNAME", defaults.hostname);
  if (defaults.terminal) add("TERM", "xterm");
  return env;
}

std::vector<Rlimit> complete_rlimits(std::vector<Rlimit> limits) {
  bool has_files =
      std::any_of(limits.begin(), limits.end(), [](const Rlimit& l) { return l.type == "RLIMIT_NOFILE"; });
  rlimit own{};
  if (!has_files && getrlimit(RLIMIT_NOFILE, &own) == 0) {
    // As docker's 1048576 where that is possible: services often start with a soft limit of 1024.
    uint64_t files = std::min<uint64_t>(own.rlim_max, 1048576);
    limits.push_back({"RLIMIT_NOFILE", files, files});
  }
  return limits;
}

}  // namespace

Spec default_spec(const Defaults& defaults) {
  Spec spec;
  ProcessSpec& process = spec.process;
  process.terminal = defaults.terminal;
  process.user = defaults.user;
  process.args = defaults.args;
  process.env = complete_environment(defaults);
  process.cwd = defaults.cwd.empty() ? "/" : defaults.cwd;
  process.rlimits = complete_rlimits(defaults.rlimits);
  uint64_t set = default_capabilities() | defaults.extra_capabilities;
  // A user that isn't root gets none, but setuid programs may still have them.
  process.capabilities = Capabilities{.bounding = set};
  if (defaults.user.uid == 0) process.capabilities->effective = process.capabilities->permitted = set;

  spec.overlay = defaults.overlay;
  spec.hostname = defaults.hostname;
  spec.mounts = default_mounts(defaults.shm_size);
  if (!defaults.init_binary.empty()) {
    spec.mounts.push_back(
        {init_path_in_container, "bind", defaults.init_binary, {"bind", "ro", "nosuid", "nodev"}});
    process.args.insert(process.args.begin(), {init_path_in_container, "init", "--"});
  }
  for (const Bind& bind : defaults.binds) {
    std::vector<std::string> options{"rbind", "rprivate"};
    options.push_back(bind.readonly ? "ro" : "rw");
    spec.mounts.push_back({bind.destination, "bind", bind.source, options});
  }

  Linux& config = spec.linux_;
  config.namespaces = default_namespaces(defaults);
  config.cgroups_path = defaults.cgroups_path;
  config.resources = defaults.resources;
  config.resources.devices.insert(config.resources.devices.begin(), DeviceRule{.allow = false, .type = 'a'});
  allow_default_devices(config.resources);
  if (defaults.network == NetworkMode::none)
    config.sysctl = {{"net.ipv4.ip_unprivileged_port_start", "0"},
                     {"net.ipv4.ping_group_range", "0 2147483647"}};
  config.masked_paths = {"/proc/asound",     "/proc/acpi",        "/proc/interrupts",
                         "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                         "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                         "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
  config.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  spec.default_seccomp = true;
  return spec;
}

void allow_default_devices(Resources& resources) {
  if (resources.devices.empty()) return;  // nothing is restricted
  auto allow = [&](char type, std::optional<int64_t> major, std::optional<int64_t> minor,
                   const char* access = "rwm") {
    for (auto rule = resources.devices.rbegin(); rule != resources.devices.rend() && rule->allow; ++rule)
      if (rule->type == type && rule->major == major && rule->minor == minor && rule->access == access)
        return;
    resources.devices.push_back({true, type, major, minor, access});
  };
  allow('c', {}, {}, "m");  // making a node is harmless where opening it isn't allowed
  allow('b', {}, {}, "m");
  for (int64_t memory : {3, 5, 7, 8, 9}) allow('c', 1, memory);  // null, zero, full, random, urandom
  for (int64_t terminal : {0, 1, 2}) allow('c', 5, terminal);    // tty, console, ptmx
  allow('c', 136, {});                                           // ptys
}

std::string mount_points_layer(const std::string& run_dir, const std::vector<Bind>& binds) {
  std::map<std::string, mode_t> points{
      {"/proc", S_IFDIR}, {"/sys", S_IFDIR}, {"/dev", S_IFDIR}, {init_path_in_container, S_IFREG}};
  for (const Bind& bind : binds) {
    struct stat info;
    check(stat(bind.source.c_str(), &info), "cannot bind '{}'", bind.source);
    points[clean_path(bind.destination)] = S_ISDIR(info.st_mode) ? S_IFDIR : S_IFREG;
  }
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: names a directory, guards nothing
  auto mix = [&](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3; };
  for (const auto& [path, type] : points) {
    for (char c : path) mix(static_cast<unsigned char>(c));
    mix(S_ISDIR(type) ? '/' : '\0');
  }
  std::string parent = join(run_dir, "mount-points"), name = join(parent, fmt::format("{:016x}", hash));
  if (exists(name)) return name;
  make_directories(parent);
  TempDir temporary(parent);
  std::string root = join(temporary.path(), "root");
  make_directories(root);
  for (const auto& [path, type] : points) {
    if (S_ISDIR(type)) {
      make_directories(join(root, path));
    } else {
      make_directories(join(root, path.substr(0, path.rfind('/'))));
      open_file(join(root, path), O_WRONLY | O_CREAT, 0644);
    }
  }
  if (rename(root.c_str(), name.c_str()) < 0 && errno != EEXIST && errno != ENOTEMPTY)
    throw SysError(errno, "cannot make directory '{}'", name);
  return name;
}

}  // namespace rayctl::run
