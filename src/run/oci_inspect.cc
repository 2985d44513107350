// list, ps, events, features, spec.
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/cgroup.h"
#include "run/defaults.h"
#include "run/mount_options.h"
#include "run/oci_commands.h"

namespace rayctl::run::oci {

namespace {

using nlohmann::json;

void print(std::string_view text) {
  write_fd(STDOUT_FILENO, text, "stdout");
}

bool as_json(const Arguments& arguments) {
  std::string format = arguments.value("--format", "table");
  if (format != "table" && format != "json")
    throw UsageError("unknown format '{}': it is table or json", format);
  return format == "json";
}

json stats_document(const std::string& id, const CgroupStats& stats) {
  json data = json::object();
  if (stats.cpu) data["cpu"]["usage"]["total"] = stats.cpu->count() * 1000;  // nanoseconds, as runc has it
  json usage = json::object();
  if (stats.memory_current) usage["usage"] = *stats.memory_current;
  if (stats.memory_peak) usage["max"] = *stats.memory_peak;
  usage["limit"] = stats.memory_limit.value_or(UINT64_MAX);
  usage["failcnt"] = stats.memory_limit_hits;
  data["memory"]["usage"] = std::move(usage);
  if (stats.pids) data["pids"]["current"] = *stats.pids;
  return {{"type", "stats"}, {"id", id}, {"data", std::move(data)}};
}

}  // namespace

int list(const Global& global, const Words& words) {
  Arguments arguments({.flags = {"-q|--quiet"}, .values = {"-f|--format"}, .least = 0, .most = 0}, "list",
                      words);
  json all = json::array();
  std::string table = fmt::format("{:<24} {:<10} {:<10} {:<32} {:<30} {}\n", "ID", "PID", "STATUS", "BUNDLE",
                                  "CREATED", "OWNER");
  for (const std::string& id : StateDirectory::list(global.root)) {
    StateDirectory directory = StateDirectory::open(global.root, id);
    Record record = directory.load();
    Status status = status_of(directory, record);
    pid_t pid = status == Status::stopped ? 0 : record.pid;
    if (arguments.has("--quiet")) print(id + "\n");
    all.push_back({{"id", id},
                   {"pid", pid},
                   {"status", name_of(status)},
                   {"bundle", record.bundle},
                   {"rootfs", record.rootfs},
                   {"created", record.created},
                   {"ociVersion", "1.2.0"},
                   {"owner", record.owner == 0 ? "root" : std::to_string(record.owner)}});
    table += fmt::format("{:<24} {:<10} {:<10} {:<32} {:<30} {}\n", id, pid, name_of(status), record.bundle,
                         record.created, record.owner == 0 ? "root" : std::to_string(record.owner));
  }
  if (!arguments.has("--quiet")) print(as_json(arguments) ? all.dump() + "\n" : table);
  return 0;
}

int processes(const Global& global, const Words& words) {
  Arguments arguments({.values = {"-f|--format"}}, "ps", words);
  Record record = StateDirectory::open(global.root, arguments.positionals()[0]).load();
  if (record.cgroup.empty())
    throw Error("cannot list the processes of container '{}': it has no cgroup of its own", record.id);
  std::vector<pid_t> pids = Cgroup::open(record.cgroup).pids();
  if (as_json(arguments)) {
    print(json(pids).dump() + "\n");
    return 0;
  }
  print("PID\n");
  for (pid_t pid : pids) print(fmt::format("{}\n", pid));
  return 0;
}

int events(const Global& global, const Words& words) {
  Arguments arguments({.flags = {"--stats"}, .values = {"--interval"}}, "events", words);
  StateDirectory directory = StateDirectory::open(global.root, arguments.positionals()[0]);
  Record record = directory.load();
  if (record.cgroup.empty())
    throw Error("cannot watch container '{}': it has no cgroup of its own", record.id);
  if (status_of(directory, record) == Status::stopped)
    throw Error("cannot watch container '{}': container not running", record.id);
  std::string text = arguments.value("--interval", "5s");
  if (text.ends_with("s")) text.pop_back();
  int seconds = 0;
  for (char c : text) seconds = c >= '0' && c <= '9' && seconds < 100000 ? seconds * 10 + (c - '0') : 1000000;
  if (text.empty() || seconds < 1 || seconds >= 1000000)
    throw UsageError("events: '--interval' is a number of seconds such as 5s");
  Cgroup cgroup = Cgroup::open(record.cgroup);
  auto print_stats = [&] { print(stats_document(record.id, cgroup.stats()).dump() + "\n"); };
  if (arguments.has("--stats")) {
    print_stats();
    return 0;
  }
  OomWatch watch(cgroup);
  uint64_t kills = cgroup.stats().oom_kills;
  while (status_of(directory, record) != Status::stopped) {
    print_stats();
    pollfd watched{watch.fd(), POLLIN, 0};
    if (poll(&watched, 1, seconds * 1000) <= 0) continue;
    watch.drain();
    if (uint64_t now = cgroup.stats().oom_kills; now > kills) {
      kills = now;
      print(nlohmann::ordered_json{{"type", "oom"}, {"id", record.id}}.dump() + "\n");
    }
  }
  return 0;
}

int features(const Global&, const Words& words) {
  Arguments arguments({.least = 0, .most = 0}, "features", words);
  json out{{"ociVersionMin", "1.0.0"}, {"ociVersionMax", "1.2.0"}};
  out["hooks"] = {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"};
  out["mountOptions"] = known_mount_options();
  json& config = out["linux"];
  config["namespaces"] = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
  config["capabilities"] = known_capabilities();
  config["cgroup"] = {{"v1", true}, {"v2", true}, {"systemd", false}, {"systemdUser", false}, {"rdma", true}};
  config["seccomp"] = {
      {"enabled", true},
      {"actions",
       {"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"}},
      {"operators",
       {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ"}}};
  config["apparmor"] = {{"enabled", true}};
  config["selinux"] = {{"enabled", false}};
  config["intelRdt"] = {{"enabled", false}};
  config["mountExtensions"] = {{"idmap", {{"enabled", false}}}};
  print(out.dump(2) + "\n");
  return 0;
}

int spec(const Global&, const Words& words) {
  Arguments arguments({.flags = {"--rootless"}, .values = {"-b|--bundle"}, .least = 0, .most = 0}, "spec",
                      words);
  Spec spec = default_spec({.args = {"sh"}, .terminal = true, .hostname = "rayctl"});
  spec.root.readonly = true;
  if (arguments.has("--rootless")) {
    auto& config = spec.linux_;
    config.namespaces.push_back({NamespaceType::user});
    config.uid_mappings = {{0, getuid(), 1}};
    config.gid_mappings = {{0, getgid(), 1}};
    std::erase_if(config.namespaces, [](const Namespace& ns) { return ns.type == NamespaceType::network; });
    config.sysctl.clear();
    config.resources = {};
    for (Mount& mount : spec.mounts) {
      if (mount.destination == "/sys")
        mount = {"/sys", "bind", "/sys", {"rbind", "nosuid", "noexec", "nodev", "ro"}};
      std::erase(mount.options, "gid=5");  // the only group is 0
    }
  }
  std::string path = join(absolute(arguments.value("--bundle", ".")), "config.json");
  if (exists(path)) throw Error("cannot write '{}': it exists already", path);
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  write_fd(fd.get(), to_text(spec), path);
  return 0;
}

}  // namespace rayctl::run::oci
