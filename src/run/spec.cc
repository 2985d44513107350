#include "run/spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "run/capabilities.h"
#include "run/spec_hooks.h"

namespace rayctl::run {

using nlohmann::json;

namespace {

void put(json& object, const char* key, const std::string& value) {
  if (!value.empty()) object[key] = value;
}

template <class T>
void put(json& object, const char* key, const std::vector<T>& list) {
  if (!list.empty()) object[key] = list;
}

template <class T>
void put(json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

json to_json(const Hook& hook) {
  json out{{"path", hook.path}};
  put(out, "args", hook.args);
  put(out, "env", hook.env);
  if (hook.timeout) out["timeout"] = hook.timeout->count();
  return out;
}

json to_json(const Hooks& hooks) {
  json out = json::object();
  for (const HookKind& kind : hook_kinds)
    for (const Hook& hook : hooks.*kind.list) out[kind.name].push_back(to_json(hook));
  return out;
}

json to_json(const Mount& mount) {
  json out{{"destination", mount.destination}};
  put(out, "type", mount.type);
  put(out, "source", mount.source);
  put(out, "options", mount.options);
  return out;
}

json to_json(const Linux& from) {
  json out = json::object();
  for (const Namespace& ns : from.namespaces) {
    json item{{"type", name_of(ns.type)}};
    put(item, "path", ns.path);
    out["namespaces"].push_back(std::move(item));
  }
  auto mappings = [&](const char* key, const std::vector<IdMapping>& list) {
    for (const IdMapping& m : list)
      out[key].push_back({{"containerID", m.container_id}, {"hostID", m.host_id}, {"size", m.size}});
  };
  mappings("uidMappings", from.uid_mappings);
  mappings("gidMappings", from.gid_mappings);
  for (const Device& d : from.devices) {
    json item{{"type", std::string(1, d.type)},
              {"path", d.path},
              {"fileMode", d.mode},
              {"uid", d.uid},
              {"gid", d.gid}};
    if (d.type != 'p') item.update({{"major", d.major}, {"minor", d.minor}});
    out["devices"].push_back(std::move(item));
  }
  put(out, "cgroupsPath", from.cgroups_path);
  if (json resources = to_json(from.resources); !resources.empty()) out["resources"] = std::move(resources);
  if (!from.sysctl.empty()) out["sysctl"] = from.sysctl;
  if (from.seccomp) out["seccomp"] = to_json(*from.seccomp);
  put(out, "rootfsPropagation", from.rootfs_propagation);
  put(out, "maskedPaths", from.masked_paths);
  put(out, "readonlyPaths", from.readonly_paths);
  put(out, "mountLabel", from.mount_label);
  if (from.personality) out["personality"] = {{"domain", *from.personality == 8 ? "LINUX32" : "LINUX"}};
  for (const auto& [clock, offset] : from.time_offsets)
    out["timeOffsets"][clock] = {{"secs", offset.seconds}, {"nanosecs", offset.nanoseconds}};
  return out;
}

}  // namespace

const char* name_of(NamespaceType type) {
  switch (type) {
    case NamespaceType::mount:
      return "mount";
    case NamespaceType::pid:
      return "pid";
    case NamespaceType::network:
      return "network";
    case NamespaceType::ipc:
      return "ipc";
    case NamespaceType::uts:
      return "uts";
    case NamespaceType::user:
      return "user";
    case NamespaceType::cgroup:
      return "cgroup";
    case NamespaceType::time:
      return "time";
  }
  return "";
}

bool has_namespace(const Spec& spec, NamespaceType type) {
  const auto& list = spec.linux_.namespaces;
  return std::any_of(list.begin(), list.end(), [&](const Namespace& n) { return n.type == type; });
}

bool has_own_mounts(const Spec& spec) {
  const auto& list = spec.linux_.namespaces;
  return std::any_of(list.begin(), list.end(),
                     [](const Namespace& n) { return n.type == NamespaceType::mount && n.path.empty(); });
}

json to_json(const SeccompProfile& profile) {
  json out{{"defaultAction", profile.default_action}};
  put(out, "defaultErrnoRet", profile.default_errno);
  put(out, "architectures", profile.architectures);
  put(out, "flags", profile.flags);
  for (const SeccompRule& rule : profile.syscalls) {
    json item{{"names", rule.names}, {"action", rule.action}};
    put(item, "errnoRet", rule.errno_ret);
    for (const SeccompArg& arg : rule.args)
      item["args"].push_back(
          {{"index", arg.index}, {"value", arg.value}, {"valueTwo", arg.value_two}, {"op", arg.op}});
    out["syscalls"].push_back(std::move(item));
  }
  put(out, "listenerPath", profile.listener_path);
  put(out, "listenerMetadata", profile.listener_metadata);
  return out;
}

json to_json(const ProcessSpec& process) {
  json user{{"uid", process.user.uid}, {"gid", process.user.gid}};
  put(user, "umask", process.user.umask);
  put(user, "additionalGids", process.user.additional_gids);
  json out{{"user", std::move(user)}, {"cwd", process.cwd}};
  if (process.terminal) out["terminal"] = true;
  if (process.console_size)
    out["consoleSize"] = {{"height", process.console_size->height}, {"width", process.console_size->width}};
  put(out, "args", process.args);
  put(out, "env", process.env);
  if (const auto& sets = process.capabilities)
    out["capabilities"] = {{"bounding", capability_names(sets->bounding)},
                           {"effective", capability_names(sets->effective)},
                           {"inheritable", capability_names(sets->inheritable)},
                           {"permitted", capability_names(sets->permitted)},
                           {"ambient", capability_names(sets->ambient)}};
  for (const Rlimit& limit : process.rlimits)
    out["rlimits"].push_back({{"type", limit.type}, {"soft", limit.soft}, {"hard", limit.hard}});
  if (process.no_new_privileges) out["noNewPrivileges"] = true;
  put(out, "oomScoreAdj", process.oom_score_adj);
  if (const auto& s = process.scheduler) {
    out["scheduler"] = {{"policy", s->policy},   {"nice", s->nice},         {"priority", s->priority},
                        {"runtime", s->runtime}, {"deadline", s->deadline}, {"period", s->period}};
    put(out["scheduler"], "flags", s->flags);
  }
  if (const auto& p = process.io_priority)
    out["ioPriority"] = {{"class", p->policy}, {"priority", p->priority}};
  put(out, "apparmorProfile", process.apparmor_profile);
  put(out, "selinuxLabel", process.selinux_label);
  return out;
}

json to_json(const Spec& spec) {
  json out{
      {"ociVersion", spec.oci_version}, {"process", to_json(spec.process)}, {"linux", to_json(spec.linux_)}};
  out["root"] = {{"path", spec.root.path}, {"readonly", spec.root.readonly}};
  put(out, "hostname", spec.hostname);
  put(out, "domainname", spec.domainname);
  for (const Mount& mount : spec.mounts) out["mounts"].push_back(to_json(mount));
  if (json hooks = to_json(spec.hooks); !hooks.empty()) out["hooks"] = std::move(hooks);
  if (!spec.annotations.empty()) out["annotations"] = spec.annotations;
  json own = json::object();
  if (spec.overlay) {
    own["overlay"]["lowerdirs"] = spec.overlay->lowerdirs;
    put(own["overlay"], "upper", spec.overlay->upper);
    put(own["overlay"], "work", spec.overlay->work);
  }
  if (spec.default_seccomp) own["seccomp"] = "default";
  if (spec.strict) own["strict"] = true;
  if (!own.empty()) out["rayctl"] = std::move(own);
  return out;
}

std::string to_text(const Spec& spec) {
  return to_json(spec).dump(2) + "\n";
}

}  // namespace rayctl::run
