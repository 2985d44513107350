// What a unit is to run: from the cluster's view, this node and, with a deployment, its assignment. Pure.
#pragma once

#include <optional>
#include <string>

#include "cluster/cluster.h"
#include "ray/placement.h"
#include "ray/unit_make.h"

namespace rayctl::ray {

// Without `assigned`: this node's own Ray. With it: `run head` and `run worker` are Ray's, and HEADHOST,
// WORKERHOST and JOB among the variables say what 2016's image contract makes them say; any other command
// runs as it is.
UnitPlace unit_place(const NodeConfig& config, const cluster::ClusterView& view, const cluster::Node& self,
                     const std::optional<Assigned>& assigned);

// The image of a node's own Ray. The head's own file has the one that the cluster was made with: the
// cluster's counts.
std::string own_image(const NodeConfig& config, const cluster::ClusterView& view, const cluster::Node& self);

}  // namespace rayctl::ray
