#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <set>

#include "base/error.h"
#include "run/capabilities.h"
#include "run/spec.h"
#include "run/spec_fields.h"
#include "run/spec_hooks.h"

namespace rayctl::run {

namespace {

using fields::absolute_path, fields::each, fields::number, fields::number_or, fields::optional_number;
using fields::refuse, fields::text, fields::text_or_empty, fields::texts;

uint32_t id(const Json& value) {
  auto found = number<uint32_t>(value);
  if (found == std::numeric_limits<uint32_t>::max())
    throw Error("{}: {} is no user or group id", value.path(), found);
  return found;
}

User parse_user(const Json& object) {
  User user;
  if (auto v = object.find("uid")) user.uid = id(*v);
  if (auto v = object.find("gid")) user.gid = id(*v);
  user.umask = optional_number<uint32_t>(object, "umask");
  if (user.umask && *user.umask > 0777)
    throw Error("{}.umask: {:o} is more than 0777", object.path(), *user.umask);
  each(object, "additionalGids", [&](const Json& gid) { user.additional_gids.push_back(id(gid)); });
  refuse(object, "username", "it is for Windows");
  return user;
}

// "Any value which cannot be mapped to a relevant kernel interface MUST be logged as a warning."
Capabilities parse_capabilities(const Json& object, std::vector<std::string>& unknown) {
  auto set_of = [&](std::string_view key) {
    uint64_t set = 0;
    each(object, key, [&](const Json& name) {
      if (auto bit = capability_number(text(name)))
        set |= uint64_t{1} << *bit;
      else if (std::find(unknown.begin(), unknown.end(), name.string()) == unknown.end())
        unknown.push_back(name.string());
    });
    return set;
  };
  return {.bounding = set_of("bounding"),
          .effective = set_of("effective"),
          .inheritable = set_of("inheritable"),
          .permitted = set_of("permitted"),
          .ambient = set_of("ambient")};
}

Hook parse_hook(const Json& object) {
  Hook hook{
      .path = absolute_path(object.at("path")), .args = texts(object, "args"), .env = texts(object, "env")};
  if (auto timeout = optional_number<int32_t>(object, "timeout")) {
    if (*timeout <= 0) throw Error("{}.timeout: {} is not greater than 0", object.path(), *timeout);
    hook.timeout = std::chrono::seconds(*timeout);
  }
  return hook;
}

Hooks parse_hooks(const Json& object) {
  Hooks hooks;
  for (const HookKind& kind : hook_kinds)
    each(object, kind.name, [&](const Json& hook) { (hooks.*kind.list).push_back(parse_hook(hook)); });
  return hooks;
}

Mount parse_mount(const Json& object) {
  refuse(object, "uidMappings", "id-mapped mounts");
  refuse(object, "gidMappings", "id-mapped mounts");
  return {.destination = absolute_path(object.at("destination")),
          .type = text_or_empty(object, "type"),
          .source = text_or_empty(object, "source"),
          .options = texts(object, "options")};
}

Namespace parse_namespace(const Json& object) {
  std::string type = text(object.at("type"));
  for (int i = 0; i <= static_cast<int>(NamespaceType::time); ++i) {
    auto candidate = static_cast<NamespaceType>(i);
    if (type != name_of(candidate)) continue;
    std::string path = text_or_empty(object, "path");
    if (!path.empty() && path[0] != '/')
      throw Error("{}.path: '{}' is not an absolute path", object.path(), path);
    return {candidate, path};
  }
  throw Error("{}.type: unknown namespace '{}'", object.path(), type);
}

IdMapping parse_mapping(const Json& object) {
  return {number<uint32_t>(object.at("containerID")), number<uint32_t>(object.at("hostID")),
          number<uint32_t>(object.at("size"))};
}

int64_t device_number(const Json& value) {
  auto found = number<int64_t>(value);
  if (found < 0 || found > 0xffffffff) throw Error("{}: {} is no device number", value.path(), found);
  return found;
}

Device parse_device(const Json& object) {
  Device device{.path = absolute_path(object.at("path"))};
  std::string type = text(object.at("type"));
  if (type != "c" && type != "b" && type != "u" && type != "p")
    throw Error("{}.type: '{}' is not one of c, b, u, p", object.path(), type);
  device.type = type == "u" ? 'c' : type[0];
  if (device.type != 'p') {
    device.major = device_number(object.at("major"));
    device.minor = device_number(object.at("minor"));
  }
  device.mode = number_or<uint32_t>(object, "fileMode", 0666);
  if ((device.mode & ~uint32_t{S_IFMT | 07777}) != 0)
    throw Error("{}.fileMode: {} is no mode", object.path(), device.mode);
  device.mode &= 07777;
  if (auto v = object.find("uid")) device.uid = id(*v);
  if (auto v = object.find("gid")) device.gid = id(*v);
  return device;
}

SeccompProfile parse_seccomp(const Json& object) {
  SeccompProfile profile{.default_action = text(object.at("defaultAction")),
                         .default_errno = optional_number<uint32_t>(object, "defaultErrnoRet"),
                         .architectures = texts(object, "architectures"),
                         .flags = texts(object, "flags")};
  each(object, "syscalls", [&](const Json& item) {
    SeccompRule rule{.names = texts(item, "names"),
                     .action = text(item.at("action")),
                     .errno_ret = optional_number<uint32_t>(item, "errnoRet")};
    each(item, "args", [&](const Json& arg) {
      rule.args.push_back({.index = number<uint32_t>(arg.at("index")),
                           .value = number<uint64_t>(arg.at("value")),
                           .value_two = number_or<uint64_t>(arg, "valueTwo", 0),
                           .op = text(arg.at("op"))});
      if (rule.args.back().index > 5)
        throw Error("{}.index: {} is more than 5", arg.path(), rule.args.back().index);
    });
    profile.syscalls.push_back(std::move(rule));
  });
  if (auto v = object.find("listenerPath")) profile.listener_path = text(*v);
  if (auto v = object.find("listenerMetadata")) profile.listener_metadata = text(*v);
  if (!profile.listener_path.empty() && profile.listener_path.front() != '/')
    throw Error("{}.listenerPath: '{}' is not an absolute path", object.path(), profile.listener_path);
  if (profile.listener_path.empty() && !profile.listener_metadata.empty())
    throw Error("{}.listenerMetadata: it needs listenerPath", object.path());
  return profile;
}

std::map<std::string, TimeOffset> parse_time_offsets(const Json& object) {
  std::map<std::string, TimeOffset> offsets;
  for (const auto& [clock, value] : object.members()) {
    if (clock != "monotonic" && clock != "boottime") throw Error("{}: unknown clock", value.path());
    offsets[clock] = {number_or<int64_t>(value, "secs", 0), number_or<uint32_t>(value, "nanosecs", 0)};
    if (offsets[clock].nanoseconds > 999'999'999)
      throw Error("{}.nanosecs: it is a second or more", value.path());
  }
  return offsets;
}

std::optional<uint64_t> parse_personality(const Json& object) {
  each(object, "flags",
       [](const Json& flag) { throw Error("{}: not supported: personality flags", flag.path()); });
  std::string domain = text(object.at("domain"));
  if (domain == "LINUX") return 0;    // PER_LINUX
  if (domain == "LINUX32") return 8;  // PER_LINUX32
  throw Error("{}.domain: '{}' is neither LINUX nor LINUX32", object.path(), domain);
}

Linux parse_linux(const Json& object) {
  refuse(object, "intelRdt", "cache and memory bandwidth allocation");
  refuse(object, "memoryPolicy", "NUMA memory policies");
  refuse(object, "netDevices", "moving network devices");
  Linux found{.cgroups_path = text_or_empty(object, "cgroupsPath"),
              .rootfs_propagation = text_or_empty(object, "rootfsPropagation"),
              .masked_paths = texts(object, "maskedPaths"),
              .readonly_paths = texts(object, "readonlyPaths"),
              .mount_label = text_or_empty(object, "mountLabel")};
  static const std::set<std::string> propagations{"",       "private", "rprivate",   "slave",      "rslave",
                                                  "shared", "rshared", "unbindable", "runbindable"};
  if (!propagations.contains(found.rootfs_propagation))
    throw Error("{}.rootfsPropagation: unknown value '{}'", object.path(), found.rootfs_propagation);
  std::set<NamespaceType> seen;
  each(object, "namespaces", [&](const Json& item) {
    found.namespaces.push_back(parse_namespace(item));
    if (!seen.insert(found.namespaces.back().type).second)
      throw Error("{}: namespace '{}' appears twice", item.path(), name_of(found.namespaces.back().type));
  });
  each(object, "uidMappings", [&](const Json& item) { found.uid_mappings.push_back(parse_mapping(item)); });
  each(object, "gidMappings", [&](const Json& item) { found.gid_mappings.push_back(parse_mapping(item)); });
  each(object, "devices", [&](const Json& item) { found.devices.push_back(parse_device(item)); });
  if (auto v = object.find("resources")) found.resources = parse_resources(*v);
  if (auto v = object.find("sysctl"))
    for (const auto& [key, value] : v->members()) found.sysctl[key] = text(value);
  if (auto v = object.find("seccomp")) found.seccomp = parse_seccomp(*v);
  if (auto v = object.find("personality")) found.personality = parse_personality(*v);
  if (auto v = object.find("timeOffsets")) found.time_offsets = parse_time_offsets(*v);
  return found;
}

Overlay parse_overlay(const Json& object) {
  object.only({"lowerdirs", "upper", "work"});
  Overlay overlay{.upper = text_or_empty(object, "upper"), .work = text_or_empty(object, "work")};
  for (const Json& item : object.at("lowerdirs").items()) overlay.lowerdirs.push_back(absolute_path(item));
  if (overlay.lowerdirs.empty()) throw Error("{}.lowerdirs: it is empty", object.path());
  if (overlay.upper.empty() != overlay.work.empty())
    throw Error("{}: 'upper' and 'work' go together", object.path());
  return overlay;
}

void check_consistency(const Spec& spec, const std::string& path) {
  if (!has_own_mounts(spec) && spec.overlay)
    throw Error("{}.rayctl.overlay: it needs a mount namespace of the container's own", path);
  if ((!spec.hostname.empty() || !spec.domainname.empty()) && !has_namespace(spec, NamespaceType::uts))
    throw Error("{}.hostname: it needs a uts namespace", path);
  const auto& namespaces = spec.linux_.namespaces;
  auto with_path = [&](NamespaceType type) {
    return std::any_of(namespaces.begin(), namespaces.end(),
                       [&](const Namespace& n) { return n.type == type && !n.path.empty(); });
  };
  bool mapped = !spec.linux_.uid_mappings.empty() || !spec.linux_.gid_mappings.empty();
  if (mapped && !has_namespace(spec, NamespaceType::user))
    throw Error("{}.linux.uidMappings: id mappings need a user namespace", path);
  if (has_namespace(spec, NamespaceType::user)) {
    if (with_path(NamespaceType::user))
      throw Error("{}.linux.namespaces: joining a user namespace is not supported", path);
    if (spec.linux_.uid_mappings.empty() || spec.linux_.gid_mappings.empty())
      throw Error("{}.linux.uidMappings: a user namespace needs id mappings", path);
  }
  if (!spec.linux_.time_offsets.empty() && !has_namespace(spec, NamespaceType::time))
    throw Error("{}.linux.timeOffsets: it needs a time namespace", path);
  if (spec.default_seccomp && spec.linux_.seccomp)
    throw Error("{}.linux.seccomp: it excludes rayctl.seccomp", path);
}

}  // namespace

ProcessSpec parse_process(const Json& object) {
  refuse(object, "execCPUAffinity", "CPU affinity of exec");
  refuse(object, "commandLine", "it is for Windows");
  ProcessSpec process{.terminal = object.boolean_or("terminal", false),
                      .args = texts(object, "args"),
                      .env = texts(object, "env"),
                      .no_new_privileges = object.boolean_or("noNewPrivileges", false),
                      .oom_score_adj = optional_number<int>(object, "oomScoreAdj"),
                      .apparmor_profile = text_or_empty(object, "apparmorProfile"),
                      .selinux_label = text_or_empty(object, "selinuxLabel")};
  if (auto v = object.find("cwd")) process.cwd = absolute_path(*v);
  if (auto v = object.find("consoleSize"))
    process.console_size = {number_or<uint16_t>(*v, "height", 0), number_or<uint16_t>(*v, "width", 0)};
  if (auto v = object.find("user")) process.user = parse_user(*v);
  if (auto v = object.find("capabilities"))
    process.capabilities = parse_capabilities(*v, process.unknown_capabilities);
  std::set<std::string> seen;
  each(object, "rlimits", [&](const Json& item) {
    Rlimit limit{text(item.at("type")), item.at("soft").size(), item.at("hard").size()};
    if (!seen.insert(limit.type).second) throw Error("{}: '{}' appears twice", item.path(), limit.type);
    if (limit.soft > limit.hard)
      throw Error("{}: soft limit {} is more than hard limit {}", item.path(), limit.soft, limit.hard);
    process.rlimits.push_back(std::move(limit));
  });
  if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000))
    throw Error("{}.oomScoreAdj: {} is not within -1000 and 1000", object.path(), *process.oom_score_adj);
  if (auto v = object.find("scheduler"))
    process.scheduler = {.policy = text(v->at("policy")),
                         .nice = number_or<int32_t>(*v, "nice", 0),
                         .priority = number_or<int32_t>(*v, "priority", 0),
                         .flags = texts(*v, "flags"),
                         .runtime = v->size_or("runtime", 0),
                         .deadline = v->size_or("deadline", 0),
                         .period = v->size_or("period", 0)};
  if (auto v = object.find("ioPriority"))
    process.io_priority = {text(v->at("class")), number_or<int>(*v, "priority", 0)};
  return process;
}

Spec parse_spec(const Json& document) {
  for (const char* platform : {"windows", "solaris", "vm", "zos", "freebsd"})
    refuse(document, platform, "rayctl makes Linux containers");
  Spec spec;
  spec.oci_version = text(document.at("ociVersion"));
  if (!spec.oci_version.starts_with("1."))
    throw Error("{}.ociVersion: '{}' is not supported: it must be 1.x", document.path(), spec.oci_version);
  if (auto v = document.find("process")) spec.process = parse_process(*v);
  if (auto v = document.find("root")) {
    spec.root.path = text(v->at("path"));
    spec.root.readonly = v->boolean_or("readonly", false);
  }
  spec.hostname = text_or_empty(document, "hostname");
  spec.domainname = text_or_empty(document, "domainname");
  each(document, "mounts", [&](const Json& item) { spec.mounts.push_back(parse_mount(item)); });
  if (auto v = document.find("hooks")) spec.hooks = parse_hooks(*v);
  if (auto v = document.find("annotations")) spec.annotations = v->string_map();
  if (auto v = document.find("linux")) spec.linux_ = parse_linux(*v);
  if (auto v = document.find("rayctl")) {
    v->only({"overlay", "seccomp", "strict"});
    if (auto overlay = v->find("overlay")) spec.overlay = parse_overlay(*overlay);
    if (auto seccomp = v->find("seccomp")) {
      if (seccomp->string() != "default") throw Error("{}: it can only be 'default'", seccomp->path());
      spec.default_seccomp = true;
    }
    spec.strict = v->boolean_or("strict", false);
  }
  if (!spec.overlay && !document.has("root")) throw Error("{}.root: missing", document.path());
  check_consistency(spec, document.path());
  return spec;
}

}  // namespace rayctl::run
