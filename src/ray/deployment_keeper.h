// The head's part in a deployment: keeps it, places its containers on nodes, and sees to it that every node
// has been told what it runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cluster/cluster.h"
#include "ray/placement.h"
#include "stitch/deployment.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

class DeploymentKeeper {
 public:
  struct Links {
    std::function<const cluster::ClusterView&()> view;
    std::function<bool(const std::string& node)> reached;  // is it connected now?
    // Hands a node its list (empty: its own Ray again); `done` with true once it has it, also later.
    std::function<void(const std::string& node, const std::optional<std::vector<Assigned>>& list,
                       std::function<void(bool)> done)>
        tell;
    std::function<void(const std::optional<stitch::Deployment>&)> changed;  // for what else follows from it
  };
  // Reads DIRECTORY/deployment.json, if it is there. Throws when it is damaged.
  DeploymentKeeper(boost::asio::io_context& io, const std::string& directory, Links links);
  ~DeploymentKeeper();

  void start();  // from now on nodes are told
  // Durable when it returns. Empty: every node runs its own Ray again.
  void set(std::optional<stitch::Deployment> deployment);
  void view_changed();
  // {"deployment": … or null, "containers": [{…, "node": name}], "waiting": [{"name", "why"}]}
  nlohmann::json describe() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace rayctl::ray
