#include "ray/node_requests.h"

#include <catch2/catch.hpp>

using namespace rayctl::ray;
using namespace rayctl::cluster;

namespace {

Node node(const std::string& name, MemberRole role, NodeStatus status = NodeStatus::joined) {
  Node n;
  n.id = name;
  n.name = name;
  n.role = role;
  n.status = status;
  return n;
}

NodeReport at(Stage stage) {
  NodeReport r;
  r.stage = stage;
  return r;
}

}  // namespace

TEST_CASE("a cluster is whole when its head and all its workers are healthy") {
  ClusterView view;
  view.cluster.workers = 2;
  view.nodes = {{"ray-ms-0", node("ray-ms-0", MemberRole::head)},
                {"ray-wk-0", node("ray-wk-0", MemberRole::worker)}};
  std::map<std::string, NodeReport> reports = {{"ray-ms-0", at(Stage::healthy)},
                                               {"ray-wk-0", at(Stage::pulling)}};
  CHECK_FALSE(wholeness(view, reports).whole);
  CHECK(wholeness(view, reports).missing == "0 of 2 workers are healthy; ray-wk-0 is pulling");
  reports["ray-wk-0"] = at(Stage::healthy);
  CHECK(wholeness(view, reports).missing == "1 of 2 workers is healthy");
  view.nodes["ray-wk-1"] = node("ray-wk-1", MemberRole::worker, NodeStatus::down);
  reports["ray-wk-1"] = at(Stage::healthy);  // its last word, before it went
  CHECK(wholeness(view, reports).missing == "1 of 2 workers is healthy; ray-wk-1 is down");
  view.nodes["ray-wk-1"].status = NodeStatus::joined;
  CHECK(wholeness(view, reports).whole);
}
