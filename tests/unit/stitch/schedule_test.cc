#include "stitch/schedule.h"

#include <catch2/catch.hpp>

using namespace rayctl::stitch;

namespace {

std::vector<Host> hosts(int workers) {
  std::vector<Host> all{
      {.name = "m", .role = master_role, .provider = "Amazon", .region = "west", .size = "big"}};
  for (int i = 0; i < workers; ++i)
    all.push_back({.name = "w" + std::to_string(i),
                   .role = worker_role,
                   .provider = i % 2 ? "Google" : "Amazon",
                   .region = i % 2 ? "east" : "west",
                   .size = "small"});
  return all;
}

Deployment containers(int count, bool head = false) {
  Deployment deployment;
  for (int i = 1; i <= count; ++i)
    deployment.containers.push_back({.id = static_cast<uint32_t>(i), .image = "i", .command = {"c"}});
  if (head) deployment.containers[0].command = {"run", "head"};
  return deployment;
}

using Assigned = std::map<uint32_t, std::string>;

}  // namespace

TEST_CASE("containers go to the idlest worker, run head to the master", "[stitch][schedule]") {
  CHECK(schedule(containers(5, true), hosts(2), {}).assigned ==
        Assigned{{1, "m"}, {2, "w0"}, {3, "w1"}, {4, "w0"}, {5, "w1"}});
  Schedule none = schedule(containers(1), hosts(0), {});
  CHECK(none.assigned.empty());
  CHECK(none.unplaced.at(1) == "there is no Worker");
  CHECK(schedule(containers(1, true), {hosts(1)[1]}, {}).unplaced.count(1) == 1);  // waits for its Master
}

TEST_CASE("what runs stays where it is", "[stitch][schedule]") {
  CHECK(schedule(containers(3), hosts(2), {{1, "w1"}, {2, "w1"}}).assigned ==
        Assigned{{1, "w1"}, {2, "w1"}, {3, "w0"}});
  CHECK(schedule(containers(2), hosts(1), {{1, "gone"}, {2, "w0"}}).assigned ==
        Assigned{{1, "w0"}, {2, "w0"}});
}

TEST_CASE("exclusive labels keep apart, both ways", "[stitch][schedule]") {
  Deployment deployment = containers(4);
  deployment.labels = {{.name = "a", .members = {1, 2}}, {.name = "b", .members = {3}}};
  deployment.placements = {{.target = "a", .other_label = "b"}};
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "w0"}, {2, "w0"}, {3, "w1"}, {4, "w1"}});
  deployment.placements = {{.target = "a", .other_label = "a"}};
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "w0"}, {2, "w1"}, {3, "w0"}, {4, "w1"}});
  Schedule tight = schedule(deployment, hosts(1), {});
  CHECK(tight.assigned == Assigned{{1, "w0"}, {3, "w0"}, {4, "w0"}});
  CHECK(
      tight.unplaced.at(2) ==
      "no machine of 1 is allowed by its placement rules: 1 by containers there that it must be apart from");
}

TEST_CASE("two labels with one public port never share a machine", "[stitch][schedule]") {
  Deployment deployment = containers(2);
  deployment.labels = {{.name = "a", .members = {1}}, {.name = "b", .members = {2}}};
  deployment.connections = {{.from = public_label, .to = "a", .min_port = 80, .max_port = 80},
                            {.from = public_label, .to = "b", .min_port = 80, .max_port = 80}};
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "w0"}, {2, "w1"}});
  CHECK(schedule(deployment, hosts(2), {{1, "w0"}, {2, "w0"}}).assigned == Assigned{{1, "w0"}, {2, "w1"}});
  CHECK(schedule(deployment, hosts(1), {}).unplaced.size() == 1);
  deployment.connections[1].min_port = deployment.connections[1].max_port = 81;
  CHECK(schedule(deployment, hosts(1), {}).unplaced.empty());
}

TEST_CASE("machine rules", "[stitch][schedule]") {
  Deployment deployment = containers(2, true);
  deployment.labels = {{.name = "h", .members = {1}}, {.name = "a", .members = {2}}};
  deployment.placements = {{.target = "a", .exclusive = false, .provider = "google"}};
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "m"}, {2, "w1"}});
  deployment.placements = {{.target = "a", .exclusive = true, .region = "west"}};
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "m"}, {2, "w1"}});
  deployment.placements = {{.target = "h", .exclusive = false, .size = "small"}};  // the spec places the head
  CHECK(schedule(deployment, hosts(2), {}).assigned == Assigned{{1, "w0"}, {2, "w1"}});
  deployment.placements = {{.target = "h", .exclusive = true, .size = "big"}};
  CHECK(schedule(deployment, hosts(2), {}).assigned.at(1) == "w0");
  deployment.placements = {{.target = "a", .exclusive = false, .size = "huge"}};
  CHECK(schedule(deployment, hosts(2), {}).unplaced.at(2) ==
        "no machine of 2 is allowed by its placement rules: 2 by machine rules");
}

TEST_CASE("on rules put containers beside others", "[stitch][schedule]") {
  Deployment deployment = containers(3);
  deployment.labels = {{.name = "a", .members = {1}}, {.name = "b", .members = {3}}};
  deployment.placements = {{.target = "a", .exclusive = false, .other_label = "b"}};
  Schedule made = schedule(deployment, hosts(3), {});
  CHECK(made.unplaced.empty());
  CHECK(made.assigned.at(1) == made.assigned.at(3));
  deployment.placements.push_back({.target = "b", .exclusive = false, .other_label = "a"});
  made = schedule(deployment, hosts(3), {});
  CHECK(made.unplaced.empty());
  CHECK(made.assigned.at(1) == made.assigned.at(3));
}

TEST_CASE("where the first choice leaves no room, containers are rearranged", "[stitch][schedule]") {
  // 1 may run anywhere, 2 on Google's only, and they must be apart: with Google's machine first, 1 takes it.
  Deployment deployment = containers(4);
  deployment.labels = {
      {.name = "a", .members = {1, 2}}, {.name = "b", .members = {3}}, {.name = "c", .members = {4}}};
  deployment.placements = {{.target = "a", .other_label = "b"},
                           {.target = "c", .other_label = "b"},
                           {.target = "c", .other_label = "a"}};
  Schedule made = schedule(deployment, hosts(3), {});
  CHECK(made.unplaced.empty());
}

TEST_CASE("5,000 containers find their places quickly", "[stitch][schedule]") {
  Deployment deployment = containers(5000);
  deployment.labels = {{.name = "a", .members = {}}};
  for (uint32_t i = 1; i <= 5000; ++i) deployment.labels[0].members.push_back(i);
  deployment.placements = {{.target = "a", .other_label = "a"}};
  CHECK(schedule(deployment, hosts(5000), {}).unplaced.empty());
}
