#include "ray/placement.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "ray/unit_place.h"
#include "ray/unit_set.h"

using namespace rayctl;
using namespace rayctl::ray;

namespace {

cluster::Node node(const std::string& id, const std::string& name, cluster::MemberRole role, uint32_t slot,
                   std::map<std::string, std::string> labels = {}) {
  cluster::Node made;
  made.id = id;
  made.name = name;
  made.role = role;
  made.labels = std::move(labels);
  cluster::Cluster pool;
  pool.pool = "10.64.0.0/12";
  cluster::NodeAddresses at = cluster::node_addresses(pool, slot);
  made.subnet = at.subnet;
  made.address = at.address;
  return made;
}

cluster::ClusterView three_nodes() {
  cluster::ClusterView view;
  view.cluster.pool = "10.64.0.0/12";
  view.cluster.image = "ray:1";
  view.nodes["h"] = node("h", "ray-ms-0", cluster::MemberRole::head, 0);
  view.nodes["a"] = node("a", "ray-wk-0", cluster::MemberRole::worker, 1, {{"size", "small"}});
  view.nodes["b"] = node("b", "ray-wk-1", cluster::MemberRole::worker, 2, {{"size", "big"}});
  return view;
}

stitch::Deployment deployment() {
  stitch::Deployment d;
  d.containers = {
      {.id = 1, .image = "ray", .command = {"run", "worker"}, .env = {{"HEADHOST", "ray-ms-0.q"}}},
      {.id = 2, .image = "ray", .command = {"run", "worker"}, .env = {{"HEADHOST", "ray-ms-0.q"}}},
      {.id = 3, .image = "ray", .command = {"run", "head"}},
      {.id = 4, .image = "web"},
      {.id = 5, .image = "web"}};
  d.labels = {{.name = "ray-wk-1", .members = {1}},
              {.name = "ray-wk-0", .members = {2}},
              {.name = "ray-ms-0", .members = {3}},
              {.name = "web", .members = {4, 5}}};
  return d;
}

std::function<std::string()> counter() {
  return [n = 0]() mutable { return fmt::format("{:012x}", ++n); };
}

// "id name node:place members"
std::vector<std::string> rows(const PlacedDeployment& placed) {
  std::vector<std::string> all;
  for (const Assigned& a : placed.assigned)
    all.push_back(
        fmt::format("{} {} {}:{} {}", a.id.substr(10), a.name, a.node, a.place, fmt::join(a.members, ",")));
  return all;
}

using Rows = std::vector<std::string>;

}  // namespace

TEST_CASE("containers are placed: the head on the master, labels on the nodes of their name", "[placement]") {
  PlacedDeployment placed = place(deployment(), three_nodes(), {}, counter());
  CHECK(rows(placed) == Rows{"01 ray-wk-1 b:0 1.ray-wk-1", "02 ray-wk-0 a:0 1.ray-wk-0",
                             "03 ray-ms-0 h:0 1.ray-ms-0", "04 1.web a:1 1.web", "05 2.web b:1 2.web"});
  CHECK(placed.waiting.empty());
  // The same again changes nothing.
  CHECK(place(deployment(), three_nodes(), placed.assigned, counter()).assigned == placed.assigned);

  // one of two workers is still to join: it is kept its share
  cluster::ClusterView early = three_nodes();
  early.nodes.erase("b");
  auto ids = counter();
  PlacedDeployment first = place(deployment(), early, {}, ids, 2);
  CHECK(first.assigned.size() == 3);
  REQUIRE(first.waiting.size() == 2);
  CHECK(first.waiting.front().why == "a worker is still to join");
  PlacedDeployment then = place(deployment(), three_nodes(), first.assigned, ids, 2);
  CHECK(then.waiting.empty());
  CHECK(std::count_if(then.assigned.begin(), then.assigned.end(),
                      [](const Assigned& a) { return a.node == "b"; }) == 2);
  CHECK(place(deployment(), early, {}, ids).waiting.empty());  // nobody is awaited
}

TEST_CASE("what changed is made anew, the rest isn't touched", "[placement]") {
  std::function<std::string()> ids = counter();
  stitch::Deployment d = deployment();
  std::vector<Assigned> before = place(d, three_nodes(), {}, ids).assigned;

  d.containers[3].env["A"] = "b";  // another environment: another container, at another address
  std::vector<Assigned> after = place(d, three_nodes(), before, ids).assigned;
  CHECK(after[0] == before[0]);
  CHECK(after[2] == before[2]);
  CHECK(after[4] == before[4]);
  CHECK(after[3].id == "000000000006");
  CHECK(after[3].place == 2);

  d = deployment();
  d.labels.push_back({.name = "extra", .members = {4}});  // labels move without a restart
  after = place(d, three_nodes(), before, ids).assigned;
  CHECK(after[3].id == before[3].id);
  CHECK(after[3].members == std::vector<std::string>{"1.web", "1.extra"});

  // Ids of the deployment don't matter: a container more in front renumbers them all.
  d = deployment();
  for (stitch::Container& container : d.containers) ++container.id;
  for (stitch::Label& label : d.labels)
    for (uint32_t& member : label.members) ++member;
  d.containers.insert(d.containers.begin(), {.id = 1, .image = "new"});
  after = place(d, three_nodes(), before, ids).assigned;
  REQUIRE(after.size() == 6);
  for (size_t i = 0; i < before.size(); ++i) CHECK(after[i + 1] == before[i]);
  CHECK(after[0].name == "c1");
}

TEST_CASE("a node that is gone gives its containers to others", "[placement]") {
  std::function<std::string()> ids = counter();
  cluster::ClusterView view = three_nodes();
  std::vector<Assigned> before = place(deployment(), view, {}, ids).assigned;
  view.nodes["b"].status = cluster::NodeStatus::suspect;  // silent for a moment: nothing moves
  CHECK(place(deployment(), view, before, ids).assigned == before);
  view.nodes["b"].status = cluster::NodeStatus::down;
  PlacedDeployment after = place(deployment(), view, before, ids);
  CHECK(rows(after) == Rows{"06 ray-wk-1 a:2 1.ray-wk-1", "02 ray-wk-0 a:0 1.ray-wk-0",
                            "03 ray-ms-0 h:0 1.ray-ms-0", "04 1.web a:1 1.web", "07 2.web a:3 2.web"});
}

TEST_CASE("what has no place waits and says why", "[placement]") {
  cluster::ClusterView view = three_nodes();
  view.nodes.erase("h");
  stitch::Deployment d = deployment();
  d.placements = {{.target = "web", .exclusive = false, .size = "huge"}};
  PlacedDeployment placed = place(d, view, {}, counter());
  CHECK(placed.assigned.size() == 2);
  REQUIRE(placed.waiting.size() == 3);
  CHECK(placed.waiting[1] ==
        Waiting{"1.web", "no machine of 2 is allowed by its placement rules: 2 by machine rules"});
  d.placements = {{.target = "web", .exclusive = false, .size = "big"}};
  placed = place(d, three_nodes(), {}, counter());
  CHECK(placed.assigned[3].node == "b");
  CHECK(placed.assigned[4].node == "b");
}

TEST_CASE("a node has as many containers as addresses", "[placement]") {
  stitch::Deployment d;
  for (uint32_t i = 1; i <= 130; ++i) d.containers.push_back({.id = i, .image = "x"});
  PlacedDeployment placed = place(d, three_nodes(), {}, counter());
  CHECK(placed.assigned.size() == 122);  // 61 in a /26
  CHECK(placed.waiting.size() == 8);
  CHECK(placed.waiting[0].why == "ray-wk-0 has no address left");
}

TEST_CASE("connections become the policy of the network", "[placement]") {
  stitch::Deployment d = deployment();
  d.labels.push_back({.name = "Upper", .members = {4}});
  d.labels.push_back({.name = "no_host", .members = {4}});
  d.connections = {{.from = "public", .to = "web", .min_port = 80, .max_port = 80},
                   {.from = "web", .to = "Upper", .min_port = 0, .max_port = 65535},
                   {.from = "no_host", .to = "web", .min_port = 1, .max_port = 2}};
  d.egress = stitch::Egress::declared;
  d.metadata_access = {d.labels.front().name};
  cluster::Policy policy = policy_of(d);
  CHECK(policy.egress == net::Egress::declared);
  CHECK(policy.metadata == std::vector{policy.labels.front()});
  CHECK(policy.labels == std::vector<std::string>{"ray-wk-1", "ray-wk-0", "ray-ms-0", "web", "upper"});
  REQUIRE(policy.connect.size() == 2);
  CHECK(policy.connect[0] == net::Connect{.from = "public", .to = "web", .first = 80, .last = 80});
  CHECK(policy.connect[1] == net::Connect{.from = "web", .to = "upper", .first = 1, .last = 65535});
  CHECK_NOTHROW(cluster::parse_policy(Json::parse(cluster::to_json(policy).dump(), "p")));
}

TEST_CASE("an assignment round-trips", "[placement]") {
  std::vector<Assigned> all = place(deployment(), three_nodes(), {}, counter()).assigned;
  CHECK(parse_assigned_list(Json::parse(to_json(all).dump(), "a")) == all);
  CHECK_THROWS_WITH(parse_assigned(Json::parse(R"({"id": "../x"})", "a")),
                    "a.id: it must be 8 to 64 hex digits");
  CHECK_THROWS_WITH(parse_assigned_list(Json::parse(
                        R"([{"id":"00000001","name":"a","image":"i","node":"n","place":0},
                            {"id":"00000001","name":"a","image":"i","node":"n","place":0}])",
                        "a")),
                    "a[1]: id '00000001' appears twice");
}

TEST_CASE("a unit's place follows 2016's image contract", "[placement]") {
  cluster::ClusterView view = three_nodes();
  NodeConfig config;
  config.env = {"NODE=1"};
  UnitPlace own = unit_place(config, view, view.nodes["a"], std::nullopt);
  CHECK(own.image == "ray:1");
  CHECK(own.unit.empty());
  CHECK(own.ray.head_name == "ray-ms-0.q");
  CHECK_FALSE(own.plain);

  Assigned head{.id = "00000001", .name = "m", .image = "i", .command = {"run", "head"}, .place = 3};
  head.env = {
      {"HEADHOST", "x-ms-0.q"}, {"WORKERHOST", "x-wk-0.q,x-wk-1.q"}, {"JOB", "python d.py"}, {"A", "b"}};
  UnitPlace ray = unit_place(config, view, view.nodes["a"], head);
  CHECK(ray.ray.role == cluster::MemberRole::head);
  CHECK(ray.ray.address == "10.64.0.69");
  CHECK(ray.ray.head_name == "x-ms-0.q");
  CHECK(ray.ray.worker_names == std::vector<std::string>{"x-wk-0.q", "x-wk-1.q"});
  CHECK(ray.ray.job == "python d.py");
  CHECK(ray.ray.env == std::vector<std::string>{"NODE=1", "A=b"});
  CHECK(ray.image == "i");

  Assigned web{.id = "00000002", .name = "web", .image = "nginx", .env = {{"A", "b"}}, .place = 1};
  UnitPlace plain = unit_place(config, view, view.nodes["a"], web);
  REQUIRE(plain.plain);
  CHECK(plain.plain->env == std::vector<std::string>{"A=b"});
  CHECK(plain.name == "web");
  std::string key = plain.key;
  web.members = {"1.other"};
  web.name = "other";
  CHECK(unit_place(config, view, view.nodes["a"], web).key == key);  // labels don't make it anew
  web.env["A"] = "c";
  CHECK(unit_place(config, view, view.nodes["a"], web).key != key);
}

TEST_CASE("a node's report is its worst container's", "[placement]") {
  NodeReport outside, well, ill;
  well.stage = Stage::healthy;
  well.container.emplace().id = "w";
  ill.stage = Stage::pulling;
  ill.detail = "x:1";
  ill.container.emplace().id = "i";
  CHECK(merged_report(outside, {}).stage == Stage::joining);
  NodeReport merged = merged_report(outside, {&well, &ill});
  CHECK(merged.stage == Stage::pulling);
  CHECK(merged.detail == "x:1");
  CHECK(merged.container->id == "w");
  REQUIRE(merged.others.size() == 1);
  CHECK(parse_node_report(Json::parse(to_json(merged).dump(), "r")).others.at(0).id == "i");
}

TEST_CASE("containers are found by label, too", "[placement]") {
  auto row = [](const std::string& node, const std::string& id, const std::string& name,
                const std::string& command) {
    PlacedContainer c{node, cluster::MemberRole::worker, {}};
    c.container.id = id;
    c.container.name = name;
    c.container.command = command;
    return c;
  };
  std::vector<PlacedContainer> all{
      row("ray-wk-0", "aa11", "1.web", "serve"), row("ray-wk-0", "bb22", "ray-wk-1", "run worker"),
      row("ray-wk-1", "cc33", "db", "db"), row("ray-wk-1", "dd44", "h", "run head")};
  CHECK(find_container(all, "db").container.id == "cc33");
  CHECK(find_container(all, "1.web.q").container.id == "aa11");
  CHECK(find_container(all, "ray-wk-1").container.id == "bb22");  // the label, not the node
  CHECK(find_container(all, "head").container.id == "dd44");
  CHECK(find_container(all, "ray-wk-1/db").container.id == "cc33");
  CHECK_THROWS_WITH(find_container(all, "ray-wk-0"), Catch::Matchers::Contains("is not unique"));
}

TEST_CASE("one worker more doesn't make the head anew, another variable does", "[placement]") {
  cluster::ClusterView view = three_nodes();
  stitch::Deployment d = deployment();
  d.containers[2].env = {{"WORKERHOST", "ray-wk-0.q"}};
  auto id = counter();
  PlacedDeployment before = place(d, view, {}, id);
  d.containers[2].env = {{"WORKERHOST", "ray-wk-0.q,ray-wk-1.q"}};
  PlacedDeployment after = place(d, view, before.assigned, id);
  CHECK(after.assigned[2].id == before.assigned[2].id);
  CHECK(after.assigned[2].env.at("WORKERHOST") == "ray-wk-0.q,ray-wk-1.q");
  d.containers[2].env["JOB"] = "true";
  CHECK(place(d, view, after.assigned, id).assigned[2].id != after.assigned[2].id);
}
