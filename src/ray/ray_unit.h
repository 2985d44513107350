// One container of the node, its own Ray or one of a deployment: pulled, made, started, watched, restarted,
// adopted again after the supervisor's own end.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/paths.h"
#include "cluster/cluster.h"
#include "cluster/control_channel.h"
#include "ray/image_access.h"
#include "ray/jobs.h"
#include "ray/node_config.h"
#include "ray/node_net.h"
#include "ray/placement.h"
#include "ray/pull_gate.h"
#include "ray/report.h"

namespace rayctl::ray {

// What the unit stands on; all of it outlives the unit.
struct UnitHost {
  boost::asio::io_context& io;
  Jobs& jobs;
  NodeNet& net;
  PullGate& gate;
  Paths paths;
  NodeConfig config;
  std::string sealed_binary;
  std::shared_ptr<ImageAccess> images;
  std::function<void(const NodeReport&)> on_report;  // something changed
  std::optional<Assigned> assigned = {};             // empty: the node's own Ray
  // The head's Ray was started: `start` names this start of it. Workers of an earlier one must start anew.
  std::function<void(const std::string& start)> on_head_start = {};
};

// The cluster setting that names the start of the head's Ray.
constexpr const char* head_start_setting = "ray-head-start";

class RayUnit {
 public:
  explicit RayUnit(UnitHost host);
  ~RayUnit();  // the container goes on

  // The node has its place: adopts the container that runs there already, or goes for a new one. Later calls
  // tell of changes of the view.
  void begin(const cluster::ClusterView& view, const cluster::Node& self, const std::string& ray_token);
  void view_changed(const cluster::ClusterView& view);
  void image_came();  // an operator brought one: perhaps what it waits for

  // For what lies outside: joining, the network, a head that can't be reached.
  void set_stage(Stage stage, const std::string& detail, const std::string& error);
  const NodeReport& report() const;

  using Done = std::function<void(const std::string& error)>;  // empty: it worked
  void stop(Done done);     // until restart(), also over the supervisor's own restarts
  void restart(Done done);  // a stopped one too
  void retire(Done done);   // ends the container and removes all of it; the unit is of no use afterwards

  // Serve an operator's channel. Throw when the container doesn't run.
  void exec(const Json& body, const cluster::ChannelPtr& channel);
  void logs(const Json& body, const cluster::ChannelPtr& channel);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace rayctl::ray
