// A node's tie to its cluster: on the head it serves the control API, on a worker it dials it. The supervisor
// sees one shape.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/paths.h"
#include "cluster/cluster.h"
#include "cluster/control_connection.h"
#include "ray/node_config.h"
#include "ray/placement.h"
#include "ray/report.h"

namespace rayctl::ray {

struct ControlEvents {
  // Head: what its own node is to run of a deployment. (Others get the request "containers.assign".)
  std::function<void(const std::optional<std::vector<Assigned>>& assignment)> on_assigned = {};
  // The view is complete for the first time (this node has its name, subnet and address), or it changed.
  std::function<void(const cluster::ClusterView& view)> on_view = {};
  std::function<void()> on_connected = {};                           // worker
  std::function<void(const std::string& why)> on_disconnected = {};  // worker; it keeps trying
  std::function<void(const std::string& why)> on_refused = {};       // worker; trying again can't help
};

class NodeControl {
 public:
  virtual ~NodeControl() = default;
  virtual void start() = 0;
  virtual cluster::ClusterView view() const = 0;
  virtual const cluster::Node* self() const = 0;  // null before the join
  virtual void report(const NodeReport& report) = 0;
  virtual std::string trouble() const = 0;  // why the head isn't reached; empty when all is well

  // What each node last said, by node id; on a worker only itself.
  virtual const std::map<std::string, NodeReport>& reports() const = 0;
  virtual bool connected(const std::string& node_id) const = 0;
  // The head passes an operator's request on to a node; an error on a worker.
  virtual void forward(const std::string& node_id, const cluster::ChannelPtr& channel, std::string_view name,
                       const nlohmann::json& body) = 0;
  // A worker's own request to the head. Null, and an error for the completion, when it isn't connected and on
  // the head itself.
  virtual cluster::ChannelPtr ask_head(std::string_view name, const nlohmann::json& body,
                                       cluster::Completion completion) = 0;
  // What others must know of this node anew; an empty text stays as it was.
  virtual void set_network_facts(const std::string& underlay, const std::string& public_key) = 0;
  // Names "N.LABEL" of this node's containers -> their addresses; all of them.
  virtual void set_names(const cluster::ContainerNames& names) = 0;
  // Head: a setting of the cluster that every node sees.
  virtual void set_setting(const std::string& key, const std::string& value) = 0;
  // Ray's own token: made once by the head, asked for by workers.
  virtual void ray_token(std::function<void(const std::string& token, const std::string& error)> done) = 0;
};

// Head: opens or creates the cluster in the state directory and listens. Throws for a pool that overlaps, a
// port in use, … The first time it leaves a worker token: printed once on a terminal, else in a 0600 file.
std::unique_ptr<NodeControl> make_head_control(boost::asio::io_context& io, const Paths& paths,
                                               const NodeConfig& config, cluster::RequestTable& requests,
                                               ControlEvents events);

// Worker: joins with its token, or comes back with its certificate.
std::unique_ptr<NodeControl> make_worker_control(boost::asio::io_context& io, const Paths& paths,
                                                 const NodeConfig& config, cluster::RequestTable& requests,
                                                 ControlEvents events);

}  // namespace rayctl::ray
