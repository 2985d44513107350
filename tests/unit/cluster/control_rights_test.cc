#include <arpa/inet.h>
#include <sys/socket.h>

#include "base/encoding.h"
#include "cluster/control_address.h"
#include "control_fixture.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using nlohmann::json;

namespace {

Peer peer(Peer::Kind kind) {
  return {.kind = kind, .id = "x", .label = "somebody"};
}

// A bare connection to the head with any credentials and any first message.
struct RawClient {
  ConnectionPtr connection = {};
  std::optional<json> hello = {};
  std::string closed = {};

  RawClient(TestHead& head, const Credentials& credentials, json greeting) {
    TlsContext tls(TlsContext::Side::client, credentials,
                   credentials.joined() ? PeerPolicy{} : PeerPolicy{.ca_pin = head.state->authority().pin()});
    Connection::Callbacks on;
    on.on_open = [this, greeting] {
      if (!greeting.is_null()) connection->hello(greeting);
    };
    on.on_hello = [this](const Json& json) { hello = json.raw(); };
    on.on_closed = [this](const std::string& reason) { closed = reason; };
    std::atomic<bool> stop{false};
    connection = Connection::start(head.io, begin_connect(resolve({"127.0.0.1", head.port}, stop).at(0)),
                                   &tls, Connection::Origin::connector, Peer{}, std::move(on));
  }
};

json greeting(const std::string& kind, const NodeFacts& facts) {
  return {{"protocol", 1},          {"version", "t"},
          {"kind", kind},           {"time", wall_now().time_since_epoch().count()},
          {"node", to_json(facts)}, {"instance", "i"}};
}

Credentials issue(TestHead& head, const std::string& dir, MemberRole role, std::string id = "") {
  make_directories(dir, 0700);
  Credentials made = load_credentials(dir);
  if (id.empty()) id = node_id(made.key);
  made.certificate =
      head.state->authority().issue(made.key, {head.state->cluster().id, role, id}, wall_now());
  made.authority = head.state->authority().certificate();
  return made;
}

}  // namespace

TEST_CASE("who may use what", "[control]") {
  using Kind = Peer::Kind;
  auto row = [](Kind kind) {
    std::string text;
    for (Access access : {Access::anyone, Access::node, Access::operate, Access::admin})
      text += allowed(peer(kind), access) ? '+' : '-';
    return text;
  };
  CHECK(row(Kind::anonymous) == "+---");
  CHECK(row(Kind::node) == "++--");
  CHECK(row(Kind::operator_) == "+-+-");
  CHECK(row(Kind::admin) == "+-++");
  CHECK(row(Kind::head) == "++++");
}

TEST_CASE("every request of the head refuses those it isn't for", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  struct Case {
    std::string name;
    Peer::Kind kind;
    std::string says;
  };
  const std::string admin = "permission denied (it needs root (uid 0) on the head or an admin's certificate)";
  for (const Case& one : std::vector<Case>{
           {"token.create", Peer::Kind::operator_, admin},
           {"token.create", Peer::Kind::node, admin},
           {"token.create", Peer::Kind::anonymous, admin},
           {"token.list", Peer::Kind::operator_, admin},
           {"token.revoke", Peer::Kind::operator_, admin},
           {"token.revoke", Peer::Kind::node, admin},
           {"nodes.remove", Peer::Kind::operator_, admin},
           {"nodes.remove", Peer::Kind::node, admin},
           {"nodes", Peer::Kind::node,
            "permission denied (it needs an operator's or admin's certificate, or the group rayctl)"},
           {"nodes", Peer::Kind::anonymous, "permission denied"},
           {"renew", Peer::Kind::operator_, "permission denied (it needs a node's certificate)"},
           {"renew", Peer::Kind::admin, "permission denied"},
           {"names", Peer::Kind::operator_, "permission denied"},
           {"facts", Peer::Kind::admin, "permission denied"}}) {
    INFO(one.name);
    CHECK_THAT(refusal(peer(one.kind), Access::admin, one.name),
               Contains("cannot use '" + one.name + "' as somebody"));
    // Over a socket pair, so that the whole way is gone.
    SocketPair pair = make_socket_pair(SOCK_STREAM | SOCK_NONBLOCK);
    Connection::Callbacks on;
    on.on_request = [&](const Request& request, const ChannelPtr& channel) {
      Request as = request;
      as.peer = peer(one.kind);
      cluster.head.requests.dispatch(as, channel);
    };
    auto server = Connection::start(cluster.io, std::move(pair.first), nullptr, Connection::Origin::acceptor,
                                    peer(Peer::Kind::admin), std::move(on));
    auto client = Connection::start(cluster.io, std::move(pair.second), nullptr,
                                    Connection::Origin::connector, peer(Peer::Kind::head), {});
    std::optional<Reply> reply;
    client->request(one.name,
                    {{"id", "x"},
                     {"name", "x"},
                     {"role", "worker"},
                     {"uses", 1},
                     {"seconds", 60},
                     {"names", json::object()}},
                    [&](const Reply& answer) { reply = answer; });
    REQUIRE(cluster.until([&] { return bool(reply); }));
    CHECK_THAT(reply->error, Contains(one.says));
    client->close("");
    server->close("");
  }
  CHECK(cluster.head.state->tokens().list().empty());
}

TEST_CASE("a certificate opens only its own stream", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  auto refused = [&](const Credentials& credentials, const json& hello) {
    RawClient client(cluster.head, credentials, hello);
    REQUIRE(cluster.until([&] { return client.hello || !client.closed.empty(); }));
    std::string text = client.hello ? client.hello->value("refused", "") : client.closed;
    client.connection->close("");
    REQUIRE(cluster.until([&] { return !client.closed.empty() || client.connection->closed(); }));
    cluster.until([] { return false; }, std::chrono::milliseconds(20));  // what was queued for it
    return text;
  };
  Credentials worker = issue(cluster.head, cluster.paths("x").state_dir, MemberRole::worker);
  Credentials oper = issue(cluster.head, cluster.paths("y").state_dir, MemberRole::operator_, "abcdefgh");
  NodeFacts own{.id = node_id(worker.key)}, other{.id = a->client->node_id()},
      as_head{.id = node_id(worker.key), .role = MemberRole::head};
  CHECK_THAT(
      refused(worker, greeting("node", other)),
      Contains("cannot open the stream of worker " + other.id + ": the certificate is for worker " + own.id));
  CHECK_THAT(refused(worker, greeting("node", as_head)), Contains("cannot open the stream of head"));
  CHECK_THAT(refused(worker, greeting("operator", own)), Contains("the certificate is for worker"));
  CHECK_THAT(refused(oper, greeting("node", own)), Contains("the certificate is for operator abcdefgh"));
  CHECK_THAT(refused(oper, greeting("operator", own)),
             Contains("token abcdefgh, which admitted it, was revoked"));
  CHECK_THAT(refused(worker, greeting("boss", own)), Contains("kind 'boss'"));
  Credentials none;
  CHECK_THAT(refused(none, greeting("node", own)), Contains("without a certificate: join first"));
  CHECK_THAT(refused(none, greeting("operator", own)), Contains("without a certificate: join first"));
  json old = greeting("node", own);
  old["protocol"] = 9;
  CHECK_THAT(refused(worker, old), Contains("use the same on all nodes"));
  CHECK_THAT(refused(none, json::object()), Contains("hello.protocol: missing"));

  // A clock that is off is told before anything else.
  json skewed = greeting("join", own);
  skewed["time"] = (wall_now() + std::chrono::seconds(252)).time_since_epoch().count();
  CHECK_THAT(refused(none, skewed), Contains("this machine's clock is 4m 12s ahead of the head's (set it"));
  skewed["time"] = (wall_now() - std::chrono::seconds(90)).time_since_epoch().count();
  CHECK_THAT(refused(none, skewed), Contains("1m 30s behind the head's"));

  // A worker's token and a head's role; a request before the greeting.
  Token token = cluster.head.token();
  json join = greeting("join", as_head);
  join["role"] = "worker";
  join["token"] = {{"id", token.id}, {"secret", token.secret}};
  join["csr"] = make_csr(worker.key);
  CHECK_THAT(refused(none, join),
             Contains("the token is for role worker, not head (a token of one role never admits another)"));
  // Another node's key under one's own name.
  join["node"] = to_json(other);
  CHECK_THAT(refused(none, join), Contains("the key is another node's"));
  CHECK(a->client->connected());
}

TEST_CASE("an operator gets a certificate by token and loses it with the token", "[control]") {
  TestCluster cluster;
  cluster.head.start();
  Token token = cluster.head.token(1, MemberRole::operator_);
  Credentials mine{
      .key = load_credentials((make_directories(cluster.paths("o").state_dir), cluster.paths("o").state_dir))
                 .key};
  json join = greeting("join", {});
  join.erase("node");
  join["role"] = "operator";
  join["token"] = {{"id", token.id}, {"secret", token.secret}};
  join["csr"] = make_csr(mine.key);
  RawClient first(cluster.head, Credentials{}, join);
  REQUIRE(cluster.until([&] { return bool(first.hello); }));
  mine.certificate = parse_certificate(first.hello->at("certificate").get<std::string>(), "t");
  mine.authority = parse_certificate(first.hello->at("authority").get<std::string>(), "t");
  first.connection->close("");

  RawClient second(cluster.head, mine, greeting("operator", {}));
  REQUIRE(cluster.until([&] { return bool(second.hello); }));
  std::optional<Reply> list, create;
  second.connection->request("nodes", json::object(), [&](const Reply& reply) { list = reply; });
  second.connection->request("token.create", {{"role", "admin"}, {"uses", 1}, {"seconds", 60}},
                             [&](const Reply& reply) { create = reply; });
  REQUIRE(cluster.until([&] { return list && create; }));
  CHECK(list->value().at("nodes").items().size() == 1);
  CHECK_THAT(create->error,
             Contains("cannot use 'token.create' as operator " + token.id + ": permission denied"));

  auto channel = std::make_shared<Channel>(std::weak_ptr<Connection>(), 1, Channel::Side::answers);
  cluster.head.requests.dispatch({"token.revoke",
                                  Json::parse(json{{"id", token.id}}.dump(), "t"),
                                  {.kind = Peer::Kind::admin, .label = "uid 0"},
                                  nullptr},
                                 channel);
  REQUIRE(cluster.until([&] { return !second.closed.empty(); }));
  CHECK(second.closed == "token " + token.id + " was revoked");
}

TEST_CASE("garbage on the port is bounded and harms nobody", "[control]") {
  TestCluster cluster;
  cluster.head.start({.max_pending = 32, .greeting_time = std::chrono::seconds(2)});
  auto a = cluster.node("a");
  a->start(cluster.head, cluster.head.token());
  REQUIRE(cluster.until([&] { return a->views > 0; }));
  std::atomic<bool> stop{false};
  SocketAddress address = resolve({"127.0.0.1", cluster.head.port}, stop).at(0);
  std::vector<Fd> open;
  for (int i = 0; i < 100; ++i) {
    open.push_back(begin_connect(address));
    std::string bytes = i % 3 == 0   ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
                        : i % 3 == 1 ? random_bytes(5000)
                                     : std::string();
    cluster.until([] { return false; }, std::chrono::milliseconds(1));
    send(open.back().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  CHECK(cluster.head.server->counters().pending <= 32);
  // The silent ones go when their time is over; the node's stream never noticed.
  REQUIRE(cluster.until([&] {
    return cluster.head.server->counters().pending == 0 && cluster.head.server->counters().connections == 1;
  }));
  CHECK(a->client->connected());
  // TLS, and then nonsense instead of a greeting.
  RawClient silly(cluster.head, Credentials{}, nullptr);
  REQUIRE(cluster.until([&] { return silly.connection->authority() != nullptr; }));
  silly.connection->ping();
  REQUIRE(cluster.until([&] { return !silly.closed.empty(); }));
  CHECK(silly.closed == "it didn't begin with a greeting");
  RawClient big(cluster.head, Credentials{}, {{"x", std::string(100000, 'x')}});
  REQUIRE(cluster.until([&] { return !big.closed.empty(); }));
  CHECK_THAT(big.closed, Contains("the limit is 32768"));
}
