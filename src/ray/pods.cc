#include "ray/pods.h"

#include <unistd.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/paths.h"
#include "cloud/units.h"
#include "ray/node_cleanup.h"
#include "ray/sd_notify.h"
#include "run/cgroup.h"

namespace rayctl::ray {

namespace {

constexpr const char* idle_leaf = "idle";
constexpr const char* helpers_leaf = "helpers";

std::string file_in(const std::string& run_dir) {
  return join(run_dir, "pods.json");
}

// Where systemd put this process: in the v2 tree, else in its own v1 hierarchy.
std::string own_unit_cgroup() {
  run::CgroupMounts mounts = run::observe_cgroup_mounts();
  const run::Hierarchy* own = mounts.unified();
  if (!own) own = mounts.find("name=systemd");
  std::string path = own ? own->own : "";
  std::string_view unit = cloud::pods_unit;
  if (!std::string_view(path).ends_with(unit) || path.size() == unit.size() ||
      path[path.size() - unit.size() - 1] != '/')
    throw Error("cannot hold the containers' cgroup: this is the process of {}, for systemd alone to start",
                unit);
  return path;
}

void hold() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  check(sigprocmask(SIG_BLOCK, &ends, nullptr), "cannot block signals");
  Paths paths = default_paths();
  std::string cgroup = own_unit_cgroup();
  run::move_to_leaf(cgroup, idle_leaf);
  make_directories(paths.run_dir);
  replace_file(file_in(paths.run_dir), nlohmann::json{{"cgroup", cgroup}}.dump() + "\n");
  sd_notify("READY=1\nSTATUS=the containers of this machine are below");
  int signal = 0;
  sigwait(&ends, &signal);
  unlink(file_in(paths.run_dir).c_str());
}

// The unit's cgroup; empty when its process doesn't run.
std::string unit_cgroup(const std::string& run_dir) {
  auto text = read_file_if_exists(file_in(run_dir));
  if (!text) return "";
  std::string cgroup = Json::parse(*text, file_in(run_dir)).at("cgroup").string();
  run::Cgroup leaf = run::Cgroup::open(join(cgroup, idle_leaf));
  return leaf.exists() && leaf.populated() ? cgroup : "";
}

}  // namespace

int pods_main(int argc, char** argv) {
  try {
    if (argc == 1) {
      hold();
    } else if (argc == 2 && std::strcmp(argv[1], "drain") == 0) {
      drain_node(default_paths());
    } else {
      throw UsageError("rayctl pods: it takes no argument but 'drain'");
    }
    return 0;
  } catch (const UsageError& e) {
    log_failure(e.message());
    return static_cast<int>(ExitCode::usage);
  } catch (const std::exception& e) {
    log_failure(e.what());
    return static_cast<int>(ExitCode::failure);
  }
}

std::string containers_cgroup(const std::string& run_dir, const std::string& id) {
  std::string unit = unit_cgroup(run_dir);
  return join(unit.empty() ? "/rayctl" : unit, id.substr(0, 12));
}

void move_to_pods(const std::string& run_dir, pid_t pid) {
  std::string unit = unit_cgroup(run_dir);
  if (unit.empty()) return;
  try {
    run::join_cgroup(join(unit, helpers_leaf), pid);
  } catch (const SysError& e) {
    if (e.code() != ESRCH) throw;  // it has ended meanwhile
  }
}

}  // namespace rayctl::ray
