// A head without a cluster and those that dial it: its operator, workers, and people in between.
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <thread>

#include "base/encoding.h"
#include "cluster/claim_server.h"
#include "cluster/context.h"
#include "cluster/control_address.h"
#include "cluster/operator_client.h"
#include "control_fixture.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using nlohmann::json;

namespace {

// What blocks runs in a thread of its own while the loop goes on.
template <class T>
struct Aside {
  std::optional<T> result = {};
  std::string error = {};
  std::atomic<bool> done{false};
  std::thread thread;
  explicit Aside(std::function<T()> work)
      : thread([this, work = std::move(work)] {
          try {
            result = work();
          } catch (const std::exception& e) {
            error = e.what();
          }
          done = true;
        }) {}
  ~Aside() { thread.join(); }
};

struct Lab {
  TestCluster cluster;
  Root root = Root::create(join(cluster.dir.path(), "root"));
  Token token = root.claim_token();
  std::unique_ptr<ClaimServer> server = {};
  std::optional<ClaimRecord> claimed = {};
  uint16_t port = 0;

  void wait_for_claim(const Token& known) {
    ServerConfig config;
    config.listen_host = "127.0.0.1";
    config.listen_port = port;
    server = std::make_unique<ClaimServer>(cluster.io, cluster_directory(cluster.head.paths), known, config,
                                           [this](const ClaimRecord& record) { claimed = record; });
    server->start();
    port = cluster.head.port = server->port();
  }
  HostPort head() const { return {"127.0.0.1", port}; }

  template <class T>
  std::string error_of(std::function<T()> work) {
    Aside<T> aside(std::move(work));
    REQUIRE(cluster.until([&] { return bool(aside.done); }));
    return aside.error;
  }
  std::string claim(const Root& by, const Token& with, ClaimWish wish = {.operator_name = "ann"}) {
    return error_of<ClaimResult>([=, this] { return claim_head(head(), by, with, wish); });
  }
  void become_head() {
    REQUIRE(cluster.until([&] { return bool(claimed); }));
    server.reset();
    cluster.head.start();
  }
};

}  // namespace

TEST_CASE("an operator claims a head; workers that waited join; the operator comes in", "[claim]") {
  Lab lab;
  lab.wait_for_claim(lab.token);
  auto token = lab.root.worker_token(std::chrono::hours(1), 2, wall_now());
  auto worker = lab.cluster.node("w");
  worker->start(lab.cluster.head, token.token);
  REQUIRE(lab.cluster.until([&] {
    return worker->client->last_error() == "it has no cluster yet: its operator must claim it first";
  }));
  CHECK(worker->refused == "");

  CHECK(lab.claim(lab.root, lab.token, {.operator_name = "ann", .tokens = {token.record}}) == "");
  lab.become_head();
  CHECK(lab.cluster.head.state->cluster().id == lab.root.cluster_id());
  CHECK(lab.cluster.head.state->authority().pin() == lab.root.pin());
  REQUIRE(lab.cluster.until([&] { return worker->views > 0; }));
  CHECK(worker->client->self()->name == "ray-wk-0");
  CHECK(lab.cluster.head.state->tokens().list().at(0).uses == 1);

  // The same again is no error: the first answer may have been lost.
  Aside<ClaimResult> again(
      [&] { return claim_head(lab.head(), lab.root, lab.token, {.operator_name = "ann"}); });
  REQUIRE(lab.cluster.until([&] { return bool(again.done); }));
  CHECK(again.error == "");
  CHECK(again.result == ClaimResult::was_ours);

  Context context = context_of_root("lab", lab.head(), lab.root, "ann");
  Aside<size_t> nodes([&] {
    OperatorClient client = OperatorClient::dial(context);
    client.request("token.create", {{"role", "worker"}, {"uses", 1}, {"seconds", 60}});
    return client.request("nodes", json::object()).at("nodes").items().size();
  });
  REQUIRE(lab.cluster.until([&] { return bool(nodes.done); }));
  CHECK(nodes.error == "");
  CHECK(nodes.result == 2);

  // All of it survives a restart of both.
  worker = nullptr;
  lab.cluster.head.stop();
  lab.cluster.head.start();
  CHECK(lab.cluster.head.state->operators().find("ann")->role == MemberRole::admin);
  CHECK(lab.cluster.head.state->operators().list().size() == 1);
  size_t uses = 0;  // of both tokens: they are listed by id, which is random
  for (const auto& record : lab.cluster.head.state->tokens().list()) uses += record.uses;
  CHECK(uses == 1);
  worker = lab.cluster.node("w");
  worker->start(lab.cluster.head, std::nullopt);
  REQUIRE(lab.cluster.until([&] { return worker->client->connected() && worker->views > 0; }));
}

TEST_CASE("who may not claim a head", "[claim]") {
  Lab lab;
  lab.wait_for_claim(lab.token);
  SECTION("a wrong secret") {
    Token wrong = lab.token;
    wrong.secret = make_claim_token(lab.root.pin()).secret;
    CHECK_THAT(lab.claim(lab.root, wrong), Contains("the claim token isn't this head's"));
  }
  SECTION("a wrong id") {
    Token wrong = lab.token;
    wrong.id = "aaaaaaaa";
    CHECK_THAT(lab.claim(lab.root, wrong), Contains("the claim token isn't this head's"));
  }
  SECTION("another root, even with the secret") {
    Root other = Root::create(join(lab.cluster.dir.path(), "other"));
    Token stolen = lab.token;
    CHECK_THAT(lab.claim(other, stolen), Contains("it is for another root"));
    stolen.ca_pin = other.pin();
    CHECK_THAT(lab.claim(other, stolen), Contains("refuses"));
  }
  SECTION("a worker's token") {
    Token worker = lab.root.worker_token(std::chrono::hours(1), 1, wall_now()).token;
    CHECK_THAT(lab.claim(lab.root, worker), Contains("it is for role worker"));
    CHECK_THROWS_WITH(lab.wait_for_claim(worker), Contains("it is for role worker, not head"));
  }
  SECTION("nobody there") {
    HostPort where = lab.head();
    lab.server.reset();
    lab.cluster.until([] { return false; }, std::chrono::milliseconds(20));
    CHECK_THROWS_AS(claim_head(where, lab.root, lab.token, {.operator_name = "ann"}), Unreachable);
  }
  CHECK_FALSE(lab.claimed);
  CHECK_FALSE(exists(join(cluster_directory(lab.cluster.head.paths), "claim.json")));
}

TEST_CASE("a claimed head takes no second claim, and its token is void", "[claim]") {
  Lab lab;
  lab.wait_for_claim(lab.token);
  CHECK(lab.claim(lab.root, lab.token) == "");
  // Before the claim server is gone ...
  CHECK_THAT(lab.claim(lab.root, lab.token), Contains("cannot reach the head"));
  lab.become_head();
  // ... and after: another root's operator doesn't even get to say it.
  Root other = Root::create(join(lab.cluster.dir.path(), "other"));
  CHECK_THAT(lab.claim(other, other.claim_token()), Contains("its certificate is from another cluster"));
  CHECK(lab.cluster.head.state->authority().pin() == lab.root.pin());
}

// Someone in between who answers the operator as a head would, and talks to the head as far as that lets it.
TEST_CASE("someone in between gets neither a claim nor a certificate", "[claim]") {
  Lab lab;
  lab.wait_for_claim(lab.token);
  // It has keys of its own, and whatever both sides send it.
  Credentials fake{.key = make_key(), .certificate = {}, .authority = {}, .root = {}};
  fake.certificate = fake.authority = make_unclaimed_certificate(fake.key, wall_now());
  Fd listener = listen_on({"127.0.0.1", 0});
  uint16_t port = port_of(listener.get());
  TlsContext as_head(TlsContext::Side::server, fake, {.ca_pin = lab.root.pin(), .role = MemberRole::admin});
  TlsContext as_operator(TlsContext::Side::client, fake,
                         {.role = MemberRole::head, .unclaimed = PeerPolicy::Unclaimed::accepted},
                         TlsContext::Show::chain);
  Aside<ClaimResult> victim([&] {
    return claim_head({"127.0.0.1", port}, lab.root, lab.token, {.operator_name = "ann"});
  });
  Fd accepted;
  REQUIRE(lab.cluster.until([&] {
    if (!accepted) accepted = Fd(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return bool(accepted);
  }));
  ConnectionPtr front, back;
  std::string back_closed, asked;
  std::optional<json> back_hello;
  Connection::Callbacks on_front, on_back;
  on_back.on_hello = [&](const Json& hello) { back_hello = hello.raw(); };
  on_back.on_closed = [&](const std::string& reason) { back_closed = reason; };
  on_front.on_hello = [&](const Json& hello) {
    // The operator's greeting goes on to the head as it is.
    std::atomic<bool> stop{false};
    on_back.on_open = [&, text = hello.raw()] { back->hello(text); };
    back = Connection::start(lab.cluster.io, begin_connect(resolve(lab.head(), stop).at(0)), &as_operator,
                             Connection::Origin::connector, Peer{}, std::move(on_back));
    // And the operator is answered with a made-up proof.
    std::string csr = make_csr(fake.key);
    front->hello({{"protocol", 1},
                  {"csr", csr},
                  {"proof", claim_proof(make_claim_token(lab.root.pin()), ClaimSide::head,
                                        front->exporter(claim_label), csr)}});
  };
  on_front.on_request = [&](const Request& request, const ChannelPtr&) { asked = request.name; };
  front = Connection::start(lab.cluster.io, std::move(accepted), &as_head, Connection::Origin::acceptor,
                            Peer{}, std::move(on_front));
  REQUIRE(lab.cluster.until([&] { return victim.done && (back_hello || !back_closed.empty()); }));
  CHECK_THAT(victim.error, Contains("it doesn't know the claim token's secret"));
  CHECK(asked == "");
  // The head wants a certificate that leads to the root: nothing that is replayed helps.
  CHECK_FALSE(back_hello);
  CHECK_FALSE(lab.claimed);
  front->close("");
}

TEST_CASE("proofs are worth nothing on another connection, or for the other side", "[claim]") {
  Lab lab;
  lab.wait_for_claim(lab.token);
  Credentials mine{.key = make_key(), .certificate = {}, .authority = lab.root.certificate(), .root = {}};
  mine.certificate = lab.root.issue_admin(mine.key, "ann", wall_now());
  TlsContext tls(TlsContext::Side::client, mine,
                 {.role = MemberRole::head, .unclaimed = PeerPolicy::Unclaimed::accepted},
                 TlsContext::Show::chain);
  std::string recorded, csr;
  auto greet = [&](const std::function<std::string(Connection&)>& proof) {
    ConnectionPtr connection;
    std::optional<json> answer;
    std::string closed;
    Connection::Callbacks on;
    on.on_open = [&] {
      connection->hello({{"protocol", 1},
                         {"kind", "claim"},
                         {"time", wall_now().time_since_epoch().count()},
                         {"token", {{"id", lab.token.id}}},
                         {"proof", proof(*connection)}});
    };
    on.on_hello = [&](const Json& hello) { answer = hello.raw(); };
    on.on_closed = [&](const std::string& reason) { closed = reason; };
    std::atomic<bool> stop{false};
    connection = Connection::start(lab.cluster.io, begin_connect(resolve(lab.head(), stop).at(0)), &tls,
                                   Connection::Origin::connector, Peer{}, std::move(on));
    REQUIRE(lab.cluster.until([&] { return answer || !closed.empty(); }));
    connection->close("");
    REQUIRE(lab.cluster.until([&] { return connection->closed(); }));
    lab.cluster.until([] { return false; }, std::chrono::milliseconds(20));  // what was queued for it
    return answer ? answer->value("refused", "") : closed;
  };
  CHECK(greet([&](Connection& connection) {
          return recorded =
                     claim_proof(lab.token, ClaimSide::operator_, connection.exporter(claim_label), "");
        }) == "");
  CHECK_THAT(greet([&](Connection&) { return recorded; }), Contains("the claim token isn't this head's"));
  CHECK_THAT(greet([&](Connection& connection) {
               return claim_proof(lab.token, ClaimSide::head, connection.exporter(claim_label), "");
             }),
             Contains("the claim token isn't this head's"));
  CHECK_FALSE(lab.claimed);
}
