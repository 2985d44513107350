// From a deployment and the nodes that are there to what each node runs. Pure: the head decides with it.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "cluster/cluster.h"
#include "stitch/deployment.h"

namespace rayctl::ray {

// A container of the deployment on its node.
struct Assigned {
  std::string id;    // 12 hex digits; stays while image, command and environment do, wherever labels move
  std::string name;  // for people, unique on its node: its first label, or "c" and its number
  std::string image;
  std::vector<std::string> command = {};
  std::map<std::string, std::string> env = {};
  std::string node;                       // id of the node that runs it
  uint32_t place = 0;                     // which address of the node's subnet
  std::vector<std::string> members = {};  // "N.LABEL": it is member N of LABEL
  bool operator==(const Assigned&) const = default;
};

struct Waiting {
  std::string name;  // as Assigned::name
  std::string why;
  bool operator==(const Waiting&) const = default;
};

struct PlacedDeployment {
  std::vector<Assigned> assigned = {};  // in the order of the deployment's containers
  std::vector<Waiting> waiting = {};    // no node may take these now
};

// Keeps what `before` has: a container whose image, command and environment are in the deployment goes on
// under its id where it is, while its node is present and the rules allow it (labels may have changed, and of
// a head the list of its workers, WORKERHOST). Fresh ones get an id from `make_id` and the place that
// stitch::schedule() finds; of equal choices the node that is named like one of their labels. A node's labels
// "provider", "region" and "size" are what machine rules are compared with. Until `workers` of them are
// present, those that are missing are kept their share: it waits.
PlacedDeployment place(const stitch::Deployment& deployment, const cluster::ClusterView& view,
                       const std::vector<Assigned>& before, const std::function<std::string()>& make_id,
                       uint32_t workers = 0);

// What of the deployment's connections the network enforces: all else is closed between containers.
cluster::Policy policy_of(const stitch::Deployment& deployment);

// What is sent to a node and kept there.
nlohmann::json to_json(const Assigned& assigned);
Assigned parse_assigned(const Json& json);
nlohmann::json to_json(const std::vector<Assigned>& all);
std::vector<Assigned> parse_assigned_list(const Json& json);

}  // namespace rayctl::ray
