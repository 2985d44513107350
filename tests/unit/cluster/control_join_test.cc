#include "control_fixture.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;

TEST_CASE("a worker joins with a token, gets its assignment, and returns without one", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto node = cluster.node("w0");
  node->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return node->views > 0 || !node->refused.empty(); }));
  REQUIRE(node->refused == "");
  const Node* self = node->client->self();
  REQUIRE(self != nullptr);
  CHECK(self->name == "ray-wk-0");
  CHECK(self->subnet == "10.64.0.64/26");
  CHECK(self->address == "10.64.0.66");
  CHECK(self->underlay == "127.0.0.1");
  CHECK(node->client->view().nodes.size() == 2);
  CHECK(node->client->view().cluster.image == "ray");
  REQUIRE(cluster.until([&] { return cluster.head.server->view().nodes.size() == 2; }));
  CHECK(names(cluster.head.server->view()).size() == 3);

  // A restart of the node: its certificate is enough, and it is the same node.
  std::string id = self->id;
  node = cluster.node("w0");
  node->start(cluster.head, std::nullopt);
  REQUIRE(cluster.until([&] { return node->client->connected() && node->views > 0; }));
  CHECK(node->client->node_id() == id);
  CHECK(node->client->self()->name == "ray-wk-0");
  CHECK(node->connects == 1);
}

TEST_CASE("each token that isn't good is refused with its reason", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto refusal = [&](const Token& token, const std::string& dir) {
    auto node = cluster.node(dir);
    node->start(cluster.head, token);
    REQUIRE(cluster.until([&] { return !node->refused.empty() || node->views > 0; }));
    return node->refused;
  };
  SECTION("used up") {
    Token token = cluster.head.token(1);
    CHECK(refusal(token, "a") == "");
    CHECK_THAT(
        refusal(token, "b"),
        Contains("is used up: it was good for one use (on the head, make a new one: rayctl token create"));
    // The first one may repeat its join: the answer could have been lost.
    remove_tree(cluster.paths("a").state_dir + "/cluster/node.crt");
    CHECK(refusal(token, "a") == "");
  }
  SECTION("revoked") {
    Token token = cluster.head.token();
    cluster.head.state->journal(cluster.head.state->tokens().revoke(token.id));
    CHECK_THAT(refusal(token, "a"), Contains("was revoked"));
  }
  SECTION("expired") {
    Token token = cluster.head.state->create_token(MemberRole::worker, std::chrono::seconds(60), 1,
                                                   wall_now() - std::chrono::seconds(100));
    CHECK_THAT(refusal(token, "a"), Contains("expired 4"));
  }
  SECTION("wrong secret") {
    Token token = cluster.head.token();
    token.secret = std::string(42, 'A') + "E";
    CHECK_THAT(refusal(token, "a"), Contains("the token is not one of this cluster's"));
  }
  SECTION("another cluster's CA: the secret isn't even sent") {
    Token token = cluster.head.token();
    token.ca_pin = std::string(42, 'A') + "E";
    CHECK_THAT(refusal(token, "a"), Contains("cannot join by 127.0.0.1:") &&
                                        Contains("its CA isn't the one that the token names"));
    CHECK(cluster.head.server->counters().joins == 0);
  }
  SECTION("an operator's token admits no worker") {
    Token token = cluster.head.token(1, MemberRole::operator_);
    auto node = cluster.node("a");
    CHECK_THROWS_WITH(node->start(cluster.head, token), Contains("the token is for role operator"));
    // Nor when the client lies about it.
    token.role = MemberRole::worker;
    CHECK_THAT(refusal(token, "a"), Contains("the token is for role operator, not worker"));
  }
}

TEST_CASE("names are unique", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  Token token = cluster.head.token();
  auto a = cluster.node("a"), b = cluster.node("b"), c = cluster.node("c");
  a->start(cluster.head, token, "gpu-1");
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  CHECK(a->client->self()->name == "gpu-1");
  b->start(cluster.head, token, "gpu-1");
  REQUIRE(cluster.until([&] { return !b->refused.empty(); }));
  CHECK_THAT(b->refused, Contains("cannot name the node 'gpu-1': the name belongs to node " +
                                  a->client->node_id() + " (joined)"));
  c->start(cluster.head, token, "head");
  REQUIRE(cluster.until([&] { return !c->refused.empty(); }));
  CHECK_THAT(c->refused, Contains("cannot name the node 'head'"));
}

TEST_CASE("the head restarts: nodes come back, the epoch grows, nothing is forgotten", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  Token token = cluster.head.token();
  auto a = cluster.node("a"), b = cluster.node("b");
  a->start(cluster.head, token);
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  b->start(cluster.head, token);
  REQUIRE(cluster.until([&] { return b->views > 0 && a->client->view().nodes.size() == 3; }));
  CHECK(a->client->view().epoch == 1);
  auto version = a->client->view().version;
  cluster.head.stop();
  REQUIRE(cluster.until([&] { return !a->client->connected() && !b->client->connected(); }));
  CHECK(a->client->self()->name == "ray-wk-0");
  CHECK(a->client->last_error() != "");

  cluster.head.start();
  REQUIRE(cluster.until([&] { return a->client->connected() && b->client->connected(); }));
  CHECK(a->client->view().epoch == 2);
  CHECK(cluster.head.state->epoch() == 2);
  CHECK(cluster.head.state->members().nodes().size() == 3);
  CHECK(a->client->view().version >= version);
  // The tokens are there still, with their uses.
  CHECK(cluster.head.state->tokens().list().at(0).uses == 2);
  auto c = cluster.node("c");
  c->start(cluster.head, token);
  REQUIRE(cluster.until([&] { return c->views > 0 && a->client->view().nodes.size() == 4; }));
  CHECK(c->client->self()->name == "ray-wk-2");
}

TEST_CASE("a node comes up from its disk while the head is away", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  a = nullptr;
  cluster.head.stop();
  a = cluster.node("a");
  a->start(cluster.head, std::nullopt);
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  CHECK_FALSE(a->client->connected());
  CHECK(a->client->self()->address == "10.64.0.66");
  cluster.head.start();
  REQUIRE(cluster.until([&] { return a->client->connected(); }));
}

TEST_CASE("a removed node is refused for good", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a"), b = cluster.node("b");
  Token token = cluster.head.token();
  a->start(cluster.head, token);
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  b->start(cluster.head, token);
  REQUIRE(cluster.until([&] { return b->views > 0; }));
  auto channel = std::make_shared<Channel>(std::weak_ptr<Connection>(), 1, Channel::Side::answers);
  cluster.head.requests.dispatch({"nodes.remove",
                                  Json::parse(R"({"name": "ray-wk-0"})", "t"),
                                  {.kind = Peer::Kind::admin, .label = "uid 0"},
                                  nullptr},
                                 channel);
  REQUIRE(cluster.until([&] { return !a->refused.empty(); }));
  CHECK_THAT(a->refused, Contains("it was removed from the cluster"));
  REQUIRE(cluster.until([&] { return b->client->view().nodes.size() == 2; }));
}

TEST_CASE("two machines with one key: the second is told, the first goes on", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  // A cloned disk.
  Paths clone = cluster.paths("clone");
  std::string to = cluster_directory(clone), from = cluster_directory(cluster.paths("a"));
  for (const char* file : {"node.key", "node.crt", "ca.crt"})
    replace_file(join(to, file), read_file(join(from, file)), 0600);
  auto b = cluster.node("clone");
  b->start(cluster.head, std::nullopt);
  REQUIRE(cluster.until(
      [&] { return b->client->last_error().find("is connected already") != std::string::npos; }));
  CHECK(a->client->connected());
  CHECK(a->disconnected == "");
  CHECK_THAT(b->client->last_error(), Contains("rayctl node reset"));
  // Once the first one is gone, it is a move and no clone.
  a = nullptr;
  REQUIRE(cluster.until([&] { return b->client->connected(); }));
}

TEST_CASE("state directories of the other kind are refused", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  CHECK_THROWS_WITH(ClusterState::open(cluster.paths("a"), test_cluster(), {}, {}, current_time()),
                    Contains("this machine is a worker of another one"));
  auto b = cluster.node("head");
  CHECK_THROWS_WITH(b->start(cluster.head, cluster.head.token()),
                    Contains("this machine is the head of one"));
  auto c = cluster.node("c");
  CHECK_THROWS_WITH(c->start(cluster.head, std::nullopt),
                    Contains("cannot join a cluster without a token (on the head: rayctl token create"));
  Cluster other = test_cluster();
  other.pool = "10.80.0.0/12";
  cluster.head.stop();
  CHECK_THROWS_WITH(ClusterState::open(cluster.paths("head"), other, {}, {}, current_time()),
                    Contains("cannot change the cluster's pool from '10.64.0.0/12' to '10.80.0.0/12'"));
}

TEST_CASE("what changes of the cluster alone is a change of the head's view, too", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0 && cluster.head.server->view().nodes.size() == 2; }));
  int before = cluster.head.views;
  cluster.head.server->set_setting("color", "green");
  REQUIRE(cluster.until([&] { return a->client->view().cluster.settings.count("color") == 1; }));
  REQUIRE(cluster.until([&] { return cluster.head.views > before; }));
  // An image that operators changed survives a start with the one that the cluster was made with.
  Cluster changed = cluster.head.state->cluster();
  changed.image = "other";
  cluster.head.state->change_cluster(changed);
  cluster.head.stop();
  cluster.head.start();
  CHECK(cluster.head.state->cluster().image == "other");
  cluster.head.stop();
  Cluster third = test_cluster();
  third.image = "third";
  CHECK(ClusterState::open(cluster.paths("head"), third, {.underlay = "127.0.0.1"}, {}, current_time())
            ->cluster()
            .image == "third");
}
