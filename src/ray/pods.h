// rayctl-pods.service: the cgroup that shims and containers live in under systemd, apart from the
// supervisor's.
#pragma once

#include <sys/types.h>

#include <string>

namespace rayctl::ray {

// `rayctl pods`: the one process of that unit. systemd takes a unit without processes for ended, and cgroup
// v2 allows none beside limits: it sits in a leaf. Writes <run dir>/pods.json, tells systemd, waits for
// SIGTERM. `rayctl pods drain`, the unit's ExecStop: stops the containers in order, as `rayctl node stop`
// does.
int pods_main(int argc, char** argv);

// Where the containers of node `id` go: below the unit when its process runs, else "/rayctl/<12 digits>".
std::string containers_cgroup(const std::string& run_dir, const std::string& id);

// Moves a helper of this node (name server, tunnel) out of the supervisor's own cgroup; it outlives it.
// Nothing happens without the unit.
void move_to_pods(const std::string& run_dir, pid_t pid);

}  // namespace rayctl::ray
