#include "ray/node_cleanup.h"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cloud/units.h"
#include "cluster/operator_client.h"
#include "ray/node_net.h"
#include "ray/unit_adopt.h"
#include "run/sealed.h"

namespace rayctl::ray {

namespace {

using namespace std::chrono_literals;
constexpr auto supervisor_deadline = 20s;
constexpr auto stop_grace = 35s;
constexpr std::string_view units[] = {cloud::node_unit, cloud::pods_unit};

void require_root() {
  if (!running_as_root()) throw Error("cannot clean up a node: it needs root: type it with sudo in front");
}

// Ends the supervisor, and holds its lock so that no other starts meanwhile.
FileLock end_supervisor(const Paths& paths) {
  std::string path = join(paths.state_dir, "node.lock");
  if (auto lock = FileLock::try_lock(path, LockKind::exclusive)) return std::move(*lock);
  info("ending the supervisor");
  cluster::OperatorClient::local(paths.run_dir).request("node.stop", nlohmann::json::object());
  auto deadline = std::chrono::steady_clock::now() + supervisor_deadline;
  for (;;) {
    if (auto lock = FileLock::try_lock(path, LockKind::exclusive)) return std::move(*lock);
    if (std::chrono::steady_clock::now() > deadline)
      throw Error("cannot clean up a node: its supervisor doesn't end (its pid: fuser '{}')", path);
    std::this_thread::sleep_for(50ms);
  }
}

// systemd would start the supervisor again. It ends it, then runs the other unit's drain; returns when both
// are done.
void stop_units(const Paths& paths, const char* verb) {
  if (paths.state_dir != "/var/lib/rayctl" || !exists("/run/systemd/system")) return;
  for (std::string_view unit : units)
    if (exists(join(cloud::unit_directory, unit)))
      run_captured({.argv = {"systemctl", verb, std::string(unit)}});
}

void stop_everything(const Paths& paths) {
  remove_all_containers(paths, stop_grace);
  remove_node_network(paths);
  run::remove_sealed_binaries(paths.run_dir);
}

}  // namespace

void stop_node(const Paths& given) {
  require_root();
  Paths paths{absolute(given.state_dir), absolute(given.run_dir)};
  if (!exists(paths.state_dir)) return;
  stop_units(paths, "stop");
  FileLock lock = end_supervisor(paths);
  stop_everything(paths);
}

void drain_node(const Paths& paths) {
  require_root();
  if (!exists(paths.state_dir)) return;
  FileLock lock = end_supervisor(paths);
  stop_everything(paths);
}

void reset_node(const Paths& given, Confirm confirm) {
  require_root();
  Paths paths{absolute(given.state_dir), absolute(given.run_dir)};
  if (confirm == Confirm::ask) {
    if (!isatty(STDIN_FILENO))
      throw UsageError("rayctl node reset: it asks before it removes: say --yes in a script");
    fmt::print("remove containers, images, keys and membership in '{}'? [y/N] ", paths.state_dir);
    std::fflush(stdout);
    int answer = std::getchar();
    if (answer != 'y' && answer != 'Y') throw Error("nothing was removed");
  }
  if (exists(paths.state_dir)) {
    stop_units(paths, "disable");
    stop_units(paths, "stop");
    FileLock lock = end_supervisor(paths);
    stop_everything(paths);
    remove_tree(paths.state_dir);
  }
  remove_tree(paths.run_dir);
  if (paths.state_dir != "/var/lib/rayctl") return;
  for (std::string_view unit : units) remove_tree(join(cloud::unit_directory, unit));
}

}  // namespace rayctl::ray
