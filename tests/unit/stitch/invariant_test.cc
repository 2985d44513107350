#include "stitch/invariant.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::stitch;
using Catch::Matchers::Equals;

namespace {

// Labels a, b, c, … of one container each, connected as "ab bc" says.
Deployment graph(const std::string& edges, int labels = 4) {
  Deployment deployment;
  for (int i = 0; i < labels; ++i) {
    auto id = static_cast<uint32_t>(i + 1);
    deployment.containers.push_back({.id = id, .image = "i"});
    deployment.labels.push_back({.name = std::string(1, static_cast<char>('a' + i)), .members = {id}});
  }
  auto name = [](char c) { return c == 'P' ? std::string(public_label) : std::string(1, c); };
  for (size_t i = 0; i + 1 < edges.size(); i += 3)
    deployment.connections.push_back(
        {.from = name(edges[i]), .to = name(edges[i + 1]), .min_port = 1, .max_port = 1});
  return deployment;
}

bool holds(Deployment deployment, const std::string& form, std::vector<std::string> labels,
           bool wanted = true) {
  deployment.invariants = {{.form = form, .holds = wanted, .labels = std::move(labels)}};
  try {
    verify(deployment);
    return true;
  } catch (const Misfit&) {
    return false;
  }
}

}  // namespace

TEST_CASE("reach follows connections", "[stitch][invariant]") {
  Deployment chain = graph("ab bc");
  CHECK(holds(chain, "reach", {"a", "c"}));
  CHECK_FALSE(holds(chain, "reach", {"c", "a"}));
  CHECK(holds(chain, "reach", {"c", "a"}, false));
  CHECK_FALSE(holds(chain, "reach", {"a", "c"}, false));
  CHECK(holds(chain, "reachDirect", {"a", "b"}));
  CHECK_FALSE(holds(chain, "reachDirect", {"a", "c"}));
  CHECK(holds(chain, "reachDirect", {"a", "c"}, false));
}

TEST_CASE("paths don't lead through the internet", "[stitch][invariant]") {
  Deployment deployment = graph("aP Pb");
  CHECK(holds(deployment, "reach", {"a", "public"}));
  CHECK(holds(deployment, "reach", {"public", "b"}));
  CHECK(holds(deployment, "reach", {"a", "b"}, false));
}

TEST_CASE("reachACL doesn't pass through guards", "[stitch][invariant]") {
  Deployment deployment = graph("ab bc ad dc");
  deployment.labels[1].annotations = {"ACL"};
  CHECK(holds(deployment, "reachACL", {"a", "c"}));
  CHECK(holds(deployment, "reachACL", {"a", "b"}));
  deployment.labels[3].annotations = {"ACL"};
  CHECK(holds(deployment, "reachACL", {"a", "c"}, false));
}

TEST_CASE("between", "[stitch][invariant]") {
  CHECK(holds(graph("ab bc"), "between", {"a", "c", "b"}));
  CHECK_FALSE(holds(graph("ab bc ad dc"), "between", {"a", "c", "b"}));
  CHECK_FALSE(holds(graph("ab"), "between", {"a", "c", "b"}));  // no path at all
  CHECK(holds(graph("ab"), "between", {"a", "c", "b"}, false));
  CHECK_FALSE(holds(graph("ab bc"), "between", {"a", "c", "b"}, false));
  CHECK(holds(graph("ac"), "between", {"a", "c", "b"}, false));
  // b is on a walk from a to c, but on no path: it leads back to a only
  CHECK(holds(graph("ab ba ac"), "between", {"a", "c", "b"}, false));
}

TEST_CASE("labels of several containers: each pair counts", "[stitch][invariant]") {
  Deployment deployment = graph("ab", 3);
  deployment.containers.push_back({.id = 9, .image = "i"});
  deployment.labels[1].members.push_back(9);
  CHECK(holds(deployment, "reach", {"a", "b"}));
  deployment.labels[0].members.push_back(9);  // 9 is in both: it isn't compared with itself, but reaches 2
  CHECK(holds(deployment, "reach", {"a", "b"}));
  deployment.labels[2].members.push_back(1);
  CHECK(holds(deployment, "reach", {"c", "b"}, false) == false);
}

TEST_CASE("enough", "[stitch][invariant]") {
  Deployment deployment = graph("", 2);
  CHECK_FALSE(holds(deployment, "enough", {}));
  deployment.machines = {{.id = 1, .role = worker_role}};
  CHECK(holds(deployment, "enough", {}));
  deployment.placements = {{.target = "a", .other_label = "b"}};
  CHECK_FALSE(holds(deployment, "enough", {}));
  deployment.machines.push_back({.id = 2, .role = worker_role});
  CHECK(holds(deployment, "enough", {}));
}

TEST_CASE("a violated invariant says which pair", "[stitch][invariant]") {
  Deployment deployment = graph("ab bc");
  deployment.invariants = {{.form = "reach", .holds = false, .labels = {"a", "c"}, .at = {"x.spec", 3, 1}}};
  CHECK_THROWS_WITH(verify(deployment),
                    Equals("x.spec:3:1: invariant doesn't hold: reach false \"a\" \"c\": container 1 "
                           "of 'a' reaches container 3 of 'c'"));
}

TEST_CASE("large graphs are quick, hostile ones end in an error", "[stitch][invariant]") {
  Deployment deployment;
  deployment.labels = {{.name = "all", .members = {}}};
  for (uint32_t i = 1; i <= 5000; ++i) {
    deployment.containers.push_back({.id = i, .image = "i"});
    deployment.labels[0].members.push_back(i);
    deployment.labels.push_back({.name = "l" + std::to_string(i), .members = {i}});
  }
  deployment.connections = {{.from = "all", .to = "all", .min_port = 1, .max_port = 2}};
  CHECK(holds(deployment, "reach", {"l1", "l5000"}));
  CHECK(holds(deployment, "between", {"l1", "l2", "l3"}) == false);
  deployment.connections.push_back({.from = "l7", .to = "l8", .min_port = 1, .max_port = 1});
  for (int i = 0; i < 2000; ++i)
    deployment.invariants.push_back({.form = "reach", .holds = true, .labels = {"all", "all"}});
  CHECK_THROWS_WITH(verify(deployment),
                    Equals("cannot check the invariants: the connection graph is too large for them"));
}
