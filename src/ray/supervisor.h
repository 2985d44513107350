// `rayctl node`: keeps one machine of the cluster as it should be.
#pragma once

#include "base/paths.h"
#include "ray/node_config.h"

namespace rayctl::ray {

// Runs until SIGINT or SIGTERM (or `node stop`), or until the head refuses this node. Containers go on
// running. Returns the exit code; throws for what can't be repaired by waiting: not root, a kernel feature
// missing, the state directory in use, the port taken, the pool overlapping.
int run_supervisor(const Paths& paths, const NodeConfig& config);

}  // namespace rayctl::ray
