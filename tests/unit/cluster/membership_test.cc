#include "cluster/membership.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

Cluster small_cluster() {
  Cluster made;
  made.id = "0123456789abcdef";
  made.pool = "10.64.0.0/12";
  made.overlay = "vxlan";
  return made;
}

std::string id_of(unsigned number) {
  return fmt::format("{:020x}", number);
}

// A membership and its clock.
struct Fixture {
  Now now{std::chrono::steady_clock::time_point(seconds(1000)), WallTime(seconds(1'800'000'000))};
  Membership members;
  explicit Fixture(const MembershipTimes& times = {}, const Cluster& made = small_cluster())
      : members(made, times) {
    members.arrive({.id = id_of(0), .role = MemberRole::head, .underlay = "192.0.2.1"}, now);
  }
  const Node& join(unsigned number, const std::string& name = "") {
    return members.arrive(
        {.id = id_of(number), .name = name, .underlay = fmt::format("192.0.2.{}", number + 1)}, now);
  }
  // Time passes; those in `alive` send their heartbeats.
  void pass(seconds time, const std::vector<unsigned>& alive = {}) {
    for (seconds done{0}; done < time; ++done) {
      now.steady += seconds(1);
      now.wall += seconds(1);
      for (unsigned number : alive) members.heard(id_of(number), now);
      members.tick(now);
    }
  }
  NodeStatus status(unsigned number) const { return members.find(id_of(number))->status; }
};

Json json_of(const nlohmann::json& json) {
  return Json::parse(json.dump(), "t");
}

}  // namespace

TEST_CASE("nodes get the lowest free index, name and subnet, and keep them", "[membership]") {
  Fixture f;
  CHECK(f.members.find(id_of(0))->name == "ray-ms-0");
  CHECK(f.members.find(id_of(0))->subnet == "10.64.0.0/26");
  CHECK(f.join(1).name == "ray-wk-0");
  CHECK(f.join(2).name == "ray-wk-1");
  const Node& third = f.join(3);
  CHECK(third.subnet == "10.64.0.192/26");
  CHECK(third.gateway == "10.64.0.193");
  CHECK(third.address == "10.64.0.194");
  // A return keeps all of it, also when the underlay changed.
  auto version = f.members.version();
  const Node& again = f.members.arrive({.id = id_of(2), .underlay = "198.51.100.9"}, f.now);
  CHECK(again.name == "ray-wk-1");
  CHECK(again.underlay == "198.51.100.9");
  CHECK(f.members.version() == version + 1);
  // The same facts again change nothing that others would have to hear.
  f.members.arrive({.id = id_of(2), .underlay = "198.51.100.9"}, f.now);
  CHECK(f.members.version() == version + 1);

  f.members.remove(id_of(2));
  const Node& next = f.join(4);
  CHECK(next.name == "ray-wk-1");
  CHECK(next.subnet == "10.64.0.128/26");
  CHECK_THROWS_WITH(f.join(2), Contains("it was removed from the cluster (rayctl node reset"));
}

TEST_CASE("names: given ones are unique, default ones make way", "[membership]") {
  Fixture f;
  CHECK(f.join(1, "ray-wk-0").index == 0);
  CHECK(f.join(2, "ray-wk-2").index == 1);
  // Index 2 is free, but its default name isn't.
  CHECK(f.join(3).name == "ray-wk-3");
  CHECK_THROWS_WITH(f.join(4, "ray-wk-2"), Contains("the name belongs to node " + id_of(2) +
                                                    " (joined) (choose another with --name, or remove that "
                                                    "one on the head: rayctl nodes rm ray-wk-2)"));
  for (const char* bad : {"Upper", "-a", "a-", "a.b", "head", "localhost", "a b", "\x1b[31m"})
    CHECK_THROWS_WITH(f.join(5, bad), Contains("cannot name the node '") && !Contains("\x1b"));
  CHECK_THROWS_WITH(f.join(5, std::string(64, 'a')), Contains("DNS label"));
  CHECK(f.members.find(id_of(5)) == nullptr);
  // Renaming by a restart with another --name.
  CHECK(f.join(1, "gpu").name == "gpu");
  CHECK(f.members.find(id_of(1))->index == 0);
  CHECK(f.join(6, "ray-wk-0").name == "ray-wk-0");
}

TEST_CASE("one head, and roles stay", "[membership]") {
  Fixture f;
  CHECK_THROWS_WITH(f.members.arrive({.id = id_of(9), .role = MemberRole::head}, f.now),
                    "cannot join as head: the cluster has a head, 'ray-ms-0'");
  f.join(1);
  CHECK_THROWS_WITH(f.members.arrive({.id = id_of(1), .role = MemberRole::head}, f.now),
                    Contains("cannot join as head: node " + id_of(1) + " is a worker"));
}

TEST_CASE("a full pool names its limit", "[membership]") {
  Cluster small = small_cluster();
  small.pool = "10.64.0.0/24";
  Fixture f({}, small);
  for (unsigned number : {1, 2, 3}) f.join(number);
  CHECK_THROWS_WITH(f.join(4), Contains("4"));
  CHECK(f.members.find(id_of(4)) == nullptr);
  f.members.remove(id_of(2));
  CHECK(f.join(4).subnet == "10.64.0.128/26");
}

TEST_CASE("silence makes a node suspect, down and expired in turn", "[membership]") {
  MembershipTimes times;
  times.expire_after = seconds(100);
  times.forget_after = seconds(1000);
  Fixture f(times);
  f.join(1);
  f.join(2);
  f.join(3);
  f.pass(seconds(14), {2, 3});
  CHECK(f.status(1) == NodeStatus::joined);
  auto version = f.members.version();
  f.members.take_changed();
  f.pass(seconds(1), {2, 3});
  CHECK(f.status(1) == NodeStatus::suspect);
  // Peers keep names and routes of a suspect: nothing is told.
  CHECK(f.members.version() == version);
  CHECK(f.members.take_changed() == std::set<std::string>{id_of(1)});
  f.pass(seconds(29), {2, 3});
  CHECK(f.status(1) == NodeStatus::suspect);
  f.pass(seconds(1), {2, 3});
  CHECK(f.status(1) == NodeStatus::down);
  CHECK(f.members.version() == version + 1);
  // It returns to what it had.
  f.members.heard(id_of(1), f.now);
  CHECK(f.status(1) == NodeStatus::joined);
  CHECK(f.members.find(id_of(1))->subnet == "10.64.0.64/26");
  f.pass(seconds(45), {2, 3});
  CHECK(f.status(1) == NodeStatus::down);
  CHECK(f.join(4).subnet != "10.64.0.64/26");  // down: still its own
  f.pass(seconds(100), {2, 3, 4});
  CHECK(f.status(1) == NodeStatus::expired);
  CHECK(f.join(5).subnet == "10.64.0.64/26");
  // Whoever returns after that is a member all the same, at another place.
  CHECK(f.join(1).subnet == "10.64.1.64/26");
  CHECK(f.join(1).name == "ray-wk-4");
  f.pass(seconds(2000), {2, 3, 4, 5});
  CHECK(f.members.find(id_of(1)) == nullptr);
  CHECK(f.members.floor() > 0);
  // The head never judges itself.
  CHECK(f.status(0) == NodeStatus::joined);
}

TEST_CASE("many silent at once: the head doubts itself", "[membership]") {
  Fixture f;
  for (unsigned number = 1; number <= 10; ++number) f.join(number);
  f.pass(seconds(60), {1, 2, 3, 4, 5, 6, 7});  // 3 of 10 silent
  CHECK(f.members.frozen());
  for (unsigned number : {8, 9, 10}) CHECK(f.status(number) == NodeStatus::suspect);
  // Some come back: the rest is judged again.
  f.pass(seconds(2), {1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK_FALSE(f.members.frozen());
  CHECK(f.status(10) == NodeStatus::down);
  // It doesn't doubt for ever.
  f.pass(seconds(14 + 301), {1, 2, 3, 4});
  CHECK(f.status(9) == NodeStatus::down);
  CHECK(f.status(1) == NodeStatus::joined);
}

TEST_CASE("one or two silent nodes of a small cluster are no mass failure", "[membership]") {
  Fixture f;
  f.join(1);
  f.join(2);
  f.pass(seconds(45));
  CHECK_FALSE(f.members.frozen());
  CHECK(f.status(1) == NodeStatus::down);
  CHECK(f.status(2) == NodeStatus::down);
}

TEST_CASE("a name exists from its assignment until its node is down", "[membership]") {
  Fixture f;
  ClusterView view;
  auto list = [&] {
    apply(view, delta_since(f.members, view.version, 100));
    std::string text;
    for (const Name& name : names(view)) text += name.name + "=" + name.address + " ";
    return text;
  };
  f.join(1);
  CHECK(list() == "head=10.64.0.2 ray-ms-0=10.64.0.2 ray-wk-0=10.64.0.66 ");
  f.members.set_names(id_of(1), {{"db", "10.64.0.67"}});
  CHECK(list() == "db=10.64.0.67 head=10.64.0.2 ray-ms-0=10.64.0.2 ray-wk-0=10.64.0.66 ");
  f.pass(seconds(20));
  CHECK(list() == "db=10.64.0.67 head=10.64.0.2 ray-ms-0=10.64.0.2 ray-wk-0=10.64.0.66 ");
  f.pass(seconds(25));
  CHECK(list() == "head=10.64.0.2 ray-ms-0=10.64.0.2 ");
  f.members.heard(id_of(1), f.now);
  CHECK(list() == "db=10.64.0.67 head=10.64.0.2 ray-ms-0=10.64.0.2 ray-wk-0=10.64.0.66 ");

  f.join(2);
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"db", "10.64.0.130"}}),
                    Contains("the name belongs to 'ray-wk-0'"));
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"x", "10.64.0.67"}}),
                    Contains("isn't in ray-wk-1's subnet 10.64.0.128/26"));
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"x", "nonsense"}}), Contains("isn't in"));
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"head", "10.64.0.130"}}),
                    Contains("a name is one DNS label"));
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"ray-wk-1", "10.64.0.131"}}),
                    Contains("that is its node's name"));
}

TEST_CASE("a head that was stopped blames nobody", "[membership]") {
  Fixture f;
  f.join(1);
  f.now.steady += seconds(3600);
  f.members.excuse(f.now);
  f.members.tick(f.now);
  CHECK(f.status(1) == NodeStatus::joined);
  f.pass(seconds(15));
  CHECK(f.status(1) == NodeStatus::suspect);
}

TEST_CASE("a wall clock that jumps moves nobody", "[membership]") {
  Fixture f;
  f.join(1);
  f.now.wall += std::chrono::hours(48);
  f.members.tick(f.now);
  CHECK(f.status(1) == NodeStatus::joined);
  f.now.wall -= std::chrono::hours(96);
  f.pass(seconds(3), {1});
  CHECK(f.status(1) == NodeStatus::joined);
}

TEST_CASE("deltas, pieces and snapshots lead to the same view", "[membership]") {
  Fixture f;
  ClusterView followed, late;
  auto follow = [&](ClusterView& view, size_t limit) {
    int pieces = 0;
    while (view.version != f.members.version()) {
      Delta delta = parse_delta(json_of(to_json(delta_since(f.members, view.version, limit))));
      apply(view, delta);
      ++pieces;
      REQUIRE(pieces < 1000);
    }
    return pieces;
  };
  for (unsigned number = 1; number <= 40; ++number) {
    f.join(number);
    if (number % 7 == 0) follow(followed, 100);
    if (number % 5 == 0) f.members.remove(id_of(number - 1));
  }
  follow(followed, 100);
  CHECK(follow(late, 6) > 4);
  CHECK(to_json(followed) == to_json(late));
  CHECK(late.nodes.size() == 33);
  CHECK(late.cluster.pool == "10.64.0.0/12");
  ClusterView parsed = parse_view(json_of(to_json(late)));
  CHECK(to_json(parsed) == to_json(late));

  // Settings reach those who are up to date.
  Cluster changed = f.members.cluster();
  changed.image = "ray:2";
  f.members.set_cluster(changed);
  follow(followed, 100);
  CHECK(followed.cluster.image == "ray:2");

  // The head lost its newest changes (a restored backup): the view from the future begins anew.
  late.version = 10000;
  Delta delta = delta_since(f.members, late.version, 100);
  CHECK(delta.full);
  apply(late, delta);
  CHECK(to_json(late) == to_json(followed));
  delta = delta_since(f.members, 5, 100);
  CHECK_THROWS_WITH(apply(late, delta), Contains("doesn't fit version"));
}

TEST_CASE("a delta tells of the state at a version, not of what came since", "[membership]") {
  Fixture f;
  for (unsigned number = 1; number <= 3; ++number) f.join(number);
  uint64_t published = f.members.version();
  f.join(4);
  f.members.set_names(id_of(1), {{"db", "10.64.0.67"}});
  Delta delta = delta_since(f.members, 0, 100, published);
  CHECK(delta.full);
  CHECK(delta.to == published);
  ClusterView view;
  apply(view, delta);
  CHECK(view.nodes.size() == 3);  // the head, 2 and 3; 1 has changed since
  apply(view, delta_since(f.members, view.version, 100));
  CHECK(view.nodes.size() == 5);
  CHECK(view.nodes.at(id_of(1)).names.size() == 1);
  // Settings that changed since wait, too.
  published = f.members.version();
  f.members.set_cluster(f.members.cluster());
  CHECK_FALSE(delta_since(f.members, published, 100, published).cluster);
  CHECK(delta_since(f.members, published, 100).cluster);
}

TEST_CASE("a journal may tell of an exchange in any order", "[membership]") {
  Fixture f;
  f.join(1, "one");
  f.join(2, "two");
  Node one = *f.members.find(id_of(1)), two = *f.members.find(id_of(2));
  std::swap(one.name, two.name);
  std::swap(one.slot, two.slot);
  for (const auto& [first, second] : {std::pair(one, two), std::pair(two, one)}) {
    Membership again(small_cluster(), MembershipTimes{});
    for (const auto& [id, node] : f.members.nodes()) again.restore(node, f.now);
    again.restore(first, f.now);
    again.restore(second, f.now);
    NodeFacts facts{.id = id_of(3), .name = "one"};
    CHECK_THROWS_WITH(again.arrive(facts, f.now), Contains("the name belongs to node " + id_of(2)));
    facts.name = "three";
    CHECK(again.arrive(facts, f.now).slot == 3);
  }
}

TEST_CASE("what the journal kept is what is restored", "[membership]") {
  Fixture f;
  f.join(1);
  f.join(2, "gpu");
  f.pass(seconds(45), {2});
  f.members.set_names(id_of(2), {{"db", "10.64.0.130"}});
  f.pass(seconds(15));
  REQUIRE(f.status(2) == NodeStatus::suspect);
  Membership again(small_cluster(), MembershipTimes{});
  Now later{std::chrono::steady_clock::time_point(seconds(5)),
            f.now.wall + seconds(3)};  // another boot's clock
  for (const auto& [id, node] : f.members.nodes()) again.restore(parse_node(json_of(to_json(node))), later);
  CHECK(again.version() == f.members.version());
  CHECK(again.find(id_of(1))->status == NodeStatus::down);
  CHECK(again.find(id_of(2))->status == NodeStatus::joined);  // its full time from now on
  CHECK(again.find(id_of(2))->names.size() == 1);
  later.steady += seconds(14);
  again.tick(later);
  CHECK(again.find(id_of(2))->status == NodeStatus::joined);
  CHECK(again.arrive({.id = id_of(1)}, later).name == "ray-wk-0");
  CHECK(again.arrive({.id = id_of(7)}, later).name == "ray-wk-2");
}

TEST_CASE("a cluster whose pool can't be divided as it says is refused, whoever says so", "[membership]") {
  for (auto [pool, prefix] : {std::pair("10.64.0.0/12", 62),
                              {"10.64.0.0/12", 8},
                              {"10.64.0.0/12", 32},
                              {"0.0.0.0/0", 32},
                              {"fd00::/8", 26}}) {
    Cluster cluster;
    cluster.pool = pool;
    cluster.node_prefix = static_cast<uint8_t>(prefix);
    CHECK_THROWS_WITH(node_addresses(cluster, 1), Contains("cannot divide pool"));
    Delta delta{.to = 3, .full = true, .cluster = cluster};
    delta.nodes.push_back(Node{.id = "00000000000000000001", .name = "ray-wk-0", .slot = 1, .version = 3});
    ClusterView view;
    CHECK_THROWS_AS(apply(view, delta), Error);
  }
}

TEST_CASE("facts are bounded and clean", "[membership]") {
  NodeFacts facts{.id = id_of(1),
                  .name = "a",
                  .underlay = "192.0.2.1",
                  .vtep_mac = "02:76:0a:40:00:40",
                  .labels = {{"zone", "b"}}};
  CHECK(to_json(parse_facts(json_of(to_json(facts)))) == to_json(facts));
  auto refused = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json json = to_json(facts);
    json[key] = value;
    CHECK_THROWS_AS(parse_facts(json_of(json)), Error);
  };
  refused("id", "short");
  refused("id", std::string(20, 'g'));
  refused("role", "admin");
  refused("name", std::string(257, 'a'));
  refused("underlay", "1.2.3.4\n");
  refused("vtep_mac", "\x1b[2J");
  refused("labels", {{"k", std::string(300, 'v')}});
  refused("labels", {{"k", 1}});
  nlohmann::json many;
  for (int i = 0; i < 65; ++i) many[std::to_string(i)] = "v";
  refused("labels", many);
}

TEST_CASE("nodes are found by name, id and unique prefix", "[membership]") {
  Fixture f;
  f.members.arrive({.id = "aaaa0000000000000000"}, f.now);
  f.members.arrive({.id = "aaaa1111111111111111"}, f.now);
  ClusterView view;
  apply(view, delta_since(f.members, 0, 100));
  CHECK(find_node(view, "head")->name == "ray-ms-0");
  CHECK(find_node(view, "ray-wk-1")->id == "aaaa1111111111111111");
  CHECK(find_node(view, "aaaa0")->name == "ray-wk-0");
  CHECK(find_node(view, "aaaa") == nullptr);
  CHECK(find_node(view, "") == nullptr);
  CHECK(find_node(view, "nobody") == nullptr);
}

TEST_CASE("a silent node that others reach stays suspect, as long as they do", "[membership]") {
  Fixture f;
  f.join(1);
  f.pass(seconds(40));
  CHECK(f.status(1) == NodeStatus::suspect);
  for (int i = 0; i < 10; ++i) {
    f.members.vouch(id_of(1), f.now);
    f.pass(seconds(10));
  }
  CHECK(f.status(1) == NodeStatus::suspect);
  f.pass(seconds(20));
  CHECK(f.status(1) == NodeStatus::down);
  f.members.vouch(id_of(9), f.now);  // nobody
}

TEST_CASE("labels: members by number, the healthy ones behind the label's name", "[membership]") {
  Fixture f;
  const Node& one = f.join(1);
  std::string first = one.address, second = one.address.substr(0, one.address.rfind('.') + 1) + "67";
  f.join(2);
  f.members.set_names(id_of(1), {{"2.web", first}, {"1.web", second}}, {"1.web"});
  CHECK_THROWS_WITH(f.members.set_names(id_of(2), {{"1.web", f.members.find(id_of(2))->address}}),
                    Contains("belongs to"));
  CHECK_THROWS_WITH(f.members.set_names(id_of(1), {{"01.web", first}}), Contains("or N.LABEL"));
  ClusterView view;
  view.cluster = small_cluster();
  view.cluster.policy = Policy{.labels = {"idle", "web"}, .connect = {}};
  for (const auto& [id, node] : f.members.nodes()) view.nodes[id] = node;
  auto labels = label_members(view);
  REQUIRE(labels.size() == 2);
  CHECK(labels["idle"].empty());
  REQUIRE(labels["web"].size() == 2);
  CHECK(labels["web"][0].number == 1);
  CHECK_FALSE(labels["web"][0].healthy);
  auto addresses = [&](const std::string& name) {
    std::vector<std::string> found;
    for (const Name& n : names(view))
      if (n.name == name) found.push_back(n.address);
    return found;
  };
  CHECK(addresses("web") == std::vector{first});  // the one that is well
  CHECK(addresses("1.web") == std::vector{second});
  f.members.set_names(id_of(1), {{"2.web", first}, {"1.web", second}}, {"1.web", "2.web"});
  view.nodes[id_of(1)] = *f.members.find(id_of(1));
  CHECK(addresses("web").size() == 2);  // none is: all of them
  Node back = parse_node(json_of(to_json(view.nodes[id_of(1)])));
  CHECK(back.ill == std::set<std::string>{"1.web", "2.web"});
}

TEST_CASE("a policy crosses the wire, and what can't be meant doesn't", "[membership]") {
  Cluster cluster = small_cluster();
  cluster.policy =
      Policy{.labels = {"db", "web"},
             .connect = {{"web", "db", 5432, 5432, net::Protocol::tcp}, {"public", "web", 80, 90, {}}},
             .egress = net::Egress::declared,
             .metadata = {"db"}};
  Cluster back = parse_cluster(json_of(to_json(cluster)));
  REQUIRE(back.policy);
  CHECK(back.policy->connect == cluster.policy->connect);
  CHECK(back.policy->egress == net::Egress::declared);
  CHECK(to_json(back) == to_json(cluster));
  auto error_of = [](const char* text) {
    try {
      parse_policy(Json::parse(text, "policy"));
    } catch (const Error& e) {
      return e.message();
    }
    return std::string();
  };
  CHECK(error_of(R"({"labels": ["Web"]})").find("'Web' is no label") != std::string::npos);
  CHECK(error_of(R"({"labels": ["a"], "connect": [{"from": "a", "to": "b", "first": 1, "last": 1}]})") ==
        "policy.connect[0].to: there is no label 'b'");
  CHECK(error_of(R"({"labels": ["a"], "connect": [{"from": "a", "to": "a", "first": 2, "last": 1}]})") ==
        "policy.connect[0]: ports 2-1 are no range");
  CHECK(
      error_of(
          R"({"labels": ["a"], "connect": [{"from": "a", "to": "a", "first": 1, "last": 1, "protocol": "x"}]})")
          .find("neither tcp nor udp") != std::string::npos);
  CHECK(error_of(R"({"labels": ["a"], "metadata": ["b"]})").find("there is no label 'b'") !=
        std::string::npos);
}
