// The node's Ray container: pulled, made, started, watched, restarted, adopted again after the supervisor's
// own end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/paths.h"
#include "ray/cluster.h"
#include "ray/control_channel.h"
#include "ray/jobs.h"
#include "ray/node_config.h"
#include "ray/node_net.h"
#include "ray/report.h"

namespace rayctl::ray {

// What the unit stands on; all of it outlives the unit.
struct UnitHost {
  boost::asio::io_context& io;
  Jobs& jobs;
  NodeNet& net;
  Paths paths;
  NodeConfig config;
  std::string sealed_binary;
  std::function<void(const NodeReport&)> on_report;  // something changed
};

class RayUnit {
 public:
  explicit RayUnit(const UnitHost& host);
  ~RayUnit();  // the container goes on

  // The node has its place: adopts the container that runs there already, or goes for a new one.
  void begin(const ClusterView& view, const Node& self, const std::string& ray_token);
  bool begun() const;

  // Before begin(), and when the head can't be reached.
  void set_stage(Stage stage, const std::string& detail, const std::string& error);
  const NodeReport& report() const;

  using Done = std::function<void(const std::string& error)>;  // empty: it worked
  void stop(Done done);     // until restart(), also over the supervisor's own restarts
  void restart(Done done);  // a stopped one too

  // Serve an operator's channel; `target` was resolved by the caller. Throw when the container doesn't run.
  void exec(const Json& body, const ChannelPtr& channel);
  void logs(const Json& body, const ChannelPtr& channel);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace rayctl::ray
