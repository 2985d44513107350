#include "run/plan.h"

#include <linux/mount.h>
#include <linux/sched.h>
#include <sys/mount.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

int clone_flag(NamespaceType type) {
  switch (type) {
    case NamespaceType::mount:
      return CLONE_NEWNS;
    case NamespaceType::pid:
      return CLONE_NEWPID;
    case NamespaceType::network:
      return CLONE_NEWNET;
    case NamespaceType::ipc:
      return CLONE_NEWIPC;
    case NamespaceType::uts:
      return CLONE_NEWUTS;
    case NamespaceType::user:
      return CLONE_NEWUSER;
    case NamespaceType::cgroup:
      return CLONE_NEWCGROUP;
    case NamespaceType::time:
      return CLONE_NEWTIME;
  }
  return 0;
}

namespace {

void plan_namespaces(const Spec& spec, Plan& plan) {
  for (const Namespace& ns : spec.linux_.namespaces) {
    if (!ns.path.empty()) {
      if (ns.type == NamespaceType::pid)
        plan.join_pid = ns.path;
      else
        plan.joins.emplace_back(clone_flag(ns.type), ns.path);
    } else if (ns.type == NamespaceType::cgroup) {
      plan.new_cgroup_namespace = true;
    } else if (ns.type == NamespaceType::time) {
      plan.new_time_namespace = true;
    } else {
      plan.clone_flags |= static_cast<uint64_t>(clone_flag(ns.type));
    }
  }
}

uint64_t propagation_flags(std::string_view name) {
  uint64_t flags = 0;
  if (name.starts_with("r")) {
    flags = MS_REC;
    name.remove_prefix(1);
  }
  if (name == "private") return flags | MS_PRIVATE;
  if (name == "slave") return flags | MS_SLAVE;
  if (name == "shared") return flags | MS_SHARED;
  if (name == "unbindable") return flags | MS_UNBINDABLE;
  return 0;
}

Step plan_mount(const Spec& spec, const Mount& mount, const std::string& bundle) {
  MountOptions options = parse_mount_options(mount);
  std::string destination = clean_path(mount.destination);
  if (destination == "/")
    throw Error("cannot mount '{}': the root itself is no destination", mount.destination);
  if (options.remount) return Remount{destination, options};
  if (options.bind) {
    if (mount.source.empty())
      throw Error("cannot mount '{}': a bind mount needs a source", mount.destination);
    std::string source = mount.source[0] == '/' ? mount.source : join(bundle, mount.source);
    return MountBind{source, destination, options};
  }
  if (mount.type == "cgroup" || mount.type == "cgroup2") return MountCgroup{destination, options};
  if (mount.type.empty())
    throw Error("cannot mount '{}': it has neither a type nor 'bind'", mount.destination);
  if (mount.type == "proc" && !has_namespace(spec, NamespaceType::pid) &&
      (options.set & MOUNT_ATTR_RDONLY) == 0 && has_namespace(spec, NamespaceType::user))
    throw Error("cannot mount '{}': a new proc needs a pid namespace", mount.destination);
  return MountFileSystem{mount.type, mount.source.empty() ? mount.type : mount.source, destination, options};
}

// What every container has, says the specification (config-linux.md, default devices).
void plan_devices(const Spec& spec, Plan& plan) {
  bool foreign_dev = std::any_of(spec.mounts.begin(), spec.mounts.end(), [](const Mount& mount) {
    return clean_path(mount.destination) == "/dev" && parse_mount_options(mount).bind;
  });
  if (foreign_dev) {  // the host's own /dev: nothing may be made in it
    if (!spec.linux_.devices.empty())
      throw Error("cannot make device '{}': /dev is a bind mount", spec.linux_.devices.front().path);
    return;
  }
  std::vector<Device> devices{{'c', "/dev/null", 1, 3},    {'c', "/dev/zero", 1, 5},
                              {'c', "/dev/full", 1, 7},    {'c', "/dev/random", 1, 8},
                              {'c', "/dev/urandom", 1, 9}, {'c', "/dev/tty", 5, 0}};
  for (const Device& device : spec.linux_.devices) {
    std::string path = clean_path(device.path);
    std::erase_if(devices, [&](const Device& d) { return d.path == path; });
    if (path == "/dev/ptmx" || path == "/dev/console") continue;  // these are the container's own
    devices.push_back(device);
    devices.back().path = path;
  }
  for (const Device& device : devices) plan.steps.emplace_back(MakeDevice{device});
  for (auto [target, path] : {std::pair{"/proc/self/fd", "/dev/fd"},
                              {"/proc/self/fd/0", "/dev/stdin"},
                              {"/proc/self/fd/1", "/dev/stdout"},
                              {"/proc/self/fd/2", "/dev/stderr"},
                              {"/proc/kcore", "/dev/core"},
                              {"pts/ptmx", "/dev/ptmx"}})
    plan.steps.emplace_back(MakeSymlink{target, path});
}

// What a step makes, if it makes anything.
struct MadePath {
  std::string operator()(const MountFileSystem& s) const { return s.destination; }
  std::string operator()(const MountBind& s) const { return s.destination; }
  std::string operator()(const MountCgroup& s) const { return s.destination; }
  std::string operator()(const MakeDevice& s) const { return s.device.path; }
  std::string operator()(const MakeSymlink& s) const { return s.path; }
  std::string operator()(const MakeConsole&) const { return "/dev/console"; }
  std::string operator()(const MakeDirectory& s) const { return s.path; }
  std::string operator()(const Remount&) const { return {}; }
  std::string operator()(const MaskPath&) const { return {}; }
  std::string operator()(const ReadonlyPath&) const { return {}; }
  std::string operator()(const SetSysctl&) const { return {}; }
};

// A file system that should be read-only stays writable until what goes into it is made.
void delay_readonly(Plan& plan) {
  std::vector<Step> last;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    auto* mount = std::get_if<MountFileSystem>(&plan.steps[i]);
    if (!mount || mount->type != "tmpfs" || !(mount->options.set & MOUNT_ATTR_RDONLY)) continue;
    bool filled = std::any_of(
        plan.steps.begin() + static_cast<ptrdiff_t>(i) + 1, plan.steps.end(),
        [&](const Step& step) { return std::visit(MadePath{}, step).starts_with(mount->destination + "/"); });
    if (!filled) continue;
    mount->options.set &= ~uint64_t{MOUNT_ATTR_RDONLY};
    last.emplace_back(Remount{mount->destination, {.set = MOUNT_ATTR_RDONLY}});
  }
  plan.steps.insert(plan.steps.end(), last.begin(), last.end());
}

std::string text_of(const MountOptions& options) {
  std::string text;
  auto add = [&](std::string_view word) {
    if (word.empty()) return;
    text += text.empty() ? "" : ",";
    text += word;
  };
  if (options.bind) add(options.recursive ? "rbind" : "bind");
  add(describe_attributes(options.set));
  if (options.clear) add("clear(" + describe_attributes(options.clear) + ")");
  if (options.recursive_set) add("recursive(" + describe_attributes(options.recursive_set) + ")");
  if (options.recursive_clear) add("recursive-clear(" + describe_attributes(options.recursive_clear) + ")");
  if (options.copy_up) add("tmpcopyup");
  if (options.propagation)
    add(fmt::format("propagation={:#x}{}", options.propagation, options.recursive_propagation ? "r" : ""));
  for (const auto& [key, value] : options.data) add(value ? key + "=" + *value : key);
  return text.empty() ? "-" : text;
}

struct Describe {
  std::string operator()(const MountFileSystem& s) const {
    return fmt::format("mount {} {} on {} {}", s.type, s.source, s.destination, text_of(s.options));
  }
  std::string operator()(const MountBind& s) const {
    return fmt::format("bind {} on {} {}", s.source, s.destination, text_of(s.options));
  }
  std::string operator()(const Remount& s) const {
    return fmt::format("remount {} {}", s.destination, text_of(s.options));
  }
  std::string operator()(const MountCgroup& s) const {
    return fmt::format("mount cgroup on {} {}", s.destination, text_of(s.options));
  }
  std::string operator()(const MakeDevice& s) const {
    const Device& d = s.device;
    return fmt::format("device {} {} {}:{} {:04o} {}:{}", d.path, d.type, d.major, d.minor, d.mode, d.uid,
                       d.gid);
  }
  std::string operator()(const MakeSymlink& s) const {
    return fmt::format("symlink {} -> {}", s.path, s.target);
  }
  std::string operator()(const MakeConsole&) const { return "console /dev/console"; }
  std::string operator()(const MaskPath& s) const { return fmt::format("mask {}", s.path); }
  std::string operator()(const ReadonlyPath& s) const { return fmt::format("readonly {}", s.path); }
  std::string operator()(const SetSysctl& s) const { return fmt::format("sysctl {} = {}", s.path, s.value); }
  std::string operator()(const MakeDirectory& s) const { return fmt::format("directory {}", s.path); }
};

}  // namespace

std::string clean_path(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part != "..")
      parts.push_back(part);
    else if (!parts.empty())
      parts.pop_back();
  }
  std::string cleaned;
  for (std::string_view part : parts) cleaned.append("/").append(part);
  return cleaned.empty() ? "/" : cleaned;
}

std::string sysctl_path(const Spec& spec, const std::string& name) {
  std::string path = name;
  // sysctl(8): with '.' first, dots separate and slashes stand for dots; with '/' first, the other way round.
  if (size_t first = name.find_first_of("./"); first != std::string::npos && name[first] == '.')
    for (char& c : path) c = c == '.' ? '/' : c == '/' ? '.' : c;
  if (path.empty() || path[0] == '/' || clean_path(path) != "/" + path)
    throw Error("cannot set sysctl '{}': it is no name of a sysctl", name);
  auto own = [&](NamespaceType type) {
    if (!has_namespace(spec, type))
      throw Error("cannot set sysctl '{}': it needs a {} namespace of the container's own", name,
                  name_of(type));
    return path;
  };
  static constexpr const char* ipc[] = {"kernel/msgmax",      "kernel/msgmnb",          "kernel/msgmni",
                                        "kernel/sem",         "kernel/shmall",          "kernel/shmmax",
                                        "kernel/shmmni",      "kernel/shm_rmid_forced", "kernel/msg_next_id",
                                        "kernel/sem_next_id", "kernel/shm_next_id",     "kernel/auto_msgmni"};
  if (path.starts_with("net/")) return own(NamespaceType::network);
  if (path.starts_with("fs/mqueue/")) return own(NamespaceType::ipc);
  if (std::find(std::begin(ipc), std::end(ipc), path) != std::end(ipc)) return own(NamespaceType::ipc);
  if (path == "kernel/hostname") throw Error("cannot set sysctl '{}': the key hostname sets it", name);
  if (path == "kernel/domainname") return own(NamespaceType::uts);
  if (path.starts_with("user/")) return own(NamespaceType::user);
  throw Error("cannot set sysctl '{}': it is not separate in any namespace, so it would change the host",
              name);
}

Plan make_plan(const Spec& spec, const std::string& bundle) {
  if (!spec.linux_.mount_label.empty())
    throw Error("cannot use mount label '{}': rayctl has no support for SELinux", spec.linux_.mount_label);
  Plan plan;
  plan_namespaces(spec, plan);
  plan.final_propagation = propagation_flags(spec.linux_.rootfs_propagation);
  // Slave, not private: what the host unmounts must not stay mounted here.
  plan.root_propagation = (plan.final_propagation ? plan.final_propagation : uint64_t{MS_SLAVE}) | MS_REC;
  if (plan.root_propagation & MS_UNBINDABLE)
    plan.root_propagation = MS_PRIVATE | MS_REC;  // the root gets it at the end
  for (const Mount& mount : spec.mounts) plan.steps.push_back(plan_mount(spec, mount, bundle));
  plan_devices(spec, plan);
  if (spec.process.terminal) plan.steps.emplace_back(MakeConsole{});
  for (const auto& [name, value] : spec.linux_.sysctl)
    plan.steps.emplace_back(SetSysctl{sysctl_path(spec, name), value});
  if (std::string cwd = clean_path(spec.process.cwd); cwd != "/") plan.steps.emplace_back(MakeDirectory{cwd});
  delay_readonly(plan);
  for (const std::string& path : spec.linux_.readonly_paths)
    plan.steps.emplace_back(ReadonlyPath{clean_path(path)});
  for (const std::string& path : spec.linux_.masked_paths)
    plan.steps.emplace_back(MaskPath{clean_path(path)});
  return plan;
}

std::string describe(const Step& step) {
  return std::visit(Describe{}, step);
}

std::string describe(const Plan& plan) {
  std::string text =
      fmt::format("clone {:#x}{}{}\n", plan.clone_flags, plan.new_cgroup_namespace ? " +cgroup" : "",
                  plan.new_time_namespace ? " +time" : "");
  for (const auto& [flag, path] : plan.joins) text += fmt::format("join {:#x} {}\n", flag, path);
  if (!plan.join_pid.empty()) text += fmt::format("join pid {}\n", plan.join_pid);
  text += fmt::format("propagation {:#x} then {:#x}\n", plan.root_propagation, plan.final_propagation);
  for (const Step& step : plan.steps) text += describe(step) + "\n";
  return text;
}

}  // namespace rayctl::run
