// What a supervisor answers to operators: ps, status, wait, logs, exec, stop, restart, for itself and, on the
// head, for all.
#pragma once

#include <functional>

#include "cluster/control_connection.h"
#include "ray/jobs.h"
#include "ray/node_control.h"
#include "ray/node_net.h"
#include "ray/unit_set.h"

namespace rayctl::ray {

struct RequestContext {
  boost::asio::io_context& io;
  Jobs& jobs;
  NodeControl& control;
  UnitSet& units;
  NodeNet& net;
  std::function<void()> shut_down;  // "node.stop": end the supervisor
};

// Registers the handlers; the context outlives the table.
void register_node_requests(cluster::RequestTable& requests, const std::shared_ptr<RequestContext>& context);

// Whether every node that makes "all" is healthy; the text says what is missing.
struct Wholeness {
  bool whole = false;
  std::string missing;  // "waiting for 1 of 2 workers; ray-wk-0 is pulling"
};
Wholeness wholeness(const cluster::ClusterView& view, const std::map<std::string, NodeReport>& reports);

}  // namespace rayctl::ray
