#include "cluster/context.h"

#include <sys/stat.h>

#include "cluster/claim.h"
#include "cluster/operator_client.h"
#include "control_fixture.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using nlohmann::json;

namespace {

Context sample(const std::string& name, const Root& root) {
  return context_of_root(name, {"10.0.0.1", 7443}, root, "ann");
}

}  // namespace

TEST_CASE("contexts are kept, chosen, exported and forgotten", "[context]") {
  TempDir dir;
  Root root = Root::create(join(dir.path(), "root"));
  Contexts contexts(join(dir.path(), "config"));
  CHECK(contexts.names().empty());
  CHECK_FALSE(contexts.current());
  CHECK_THROWS_WITH(contexts.load("lab"), Contains("cannot find context 'lab': there is none (made by:"));
  contexts.save(sample("lab", root));
  contexts.save(sample("farm", root));
  CHECK(contexts.names() == std::vector<std::string>{"farm", "lab"});
  std::string home = join(dir.path(), "config/contexts/lab");
  CHECK((status(home)->st_mode & 0777) == 0700);
  CHECK((status(join(home, "key"))->st_mode & 0777) == 0600);
  Context lab = contexts.load("lab");
  CHECK(lab.head == "10.0.0.1:7443");
  CHECK(lab.cluster == root.cluster_id());
  CHECK(lab.identity().identity.role == MemberRole::admin);

  contexts.use("lab");
  CHECK(contexts.current() == "lab");
  CHECK_THROWS_WITH(contexts.use("lob"), Contains("did you mean 'lab'?"));
  CHECK_THROWS_WITH(contexts.load("../lab"), Contains("as a cluster's name"));

  std::string text = export_context(lab);
  Context back = import_context(text, "f");
  CHECK(node_id(back.key) == node_id(lab.key));
  CHECK(to_pem(back.root) == to_pem(lab.root));
  CHECK_THROWS_WITH(import_context("{}", "f"), Contains("it isn't a context"));
  json other = json::parse(text);
  other["key"] = to_pem(make_key());
  CHECK_THROWS_WITH(import_context(other.dump(), "f"), Contains("don't belong together"));
  other = json::parse(text);
  other["cluster"] = "0123456789abcdef";
  CHECK_THROWS_WITH(import_context(other.dump(), "f"), Contains("none of an operator of this cluster"));
  other = json::parse(text);
  other["name"] = "../../etc";
  CHECK_THROWS_WITH(import_context(other.dump(), "f"), Contains("as a cluster's name"));

  contexts.remove("lab");
  CHECK_FALSE(contexts.current());
  CHECK(contexts.names() == std::vector<std::string>{"farm"});
  CHECK_FALSE(exists(home));
  REQUIRE(unlink(join(dir.path(), "config/contexts/farm/key").c_str()) == 0);
  CHECK_THROWS_WITH(contexts.load("farm"), Contains("its key is missing"));
}

TEST_CASE("an operator by token: in, out with the token", "[context]") {
  TestCluster cluster;
  cluster.head.start();
  HostPort head{"127.0.0.1", cluster.head.port};
  Token token = cluster.head.token(1, MemberRole::operator_);
  Context context;
  CHECK(cluster.beside([&] { context = join_as_operator("lab", head, token); }) == "");
  CHECK(context.identity().identity.role == MemberRole::operator_);
  auto ask = [&](const std::string& name, const json& body) {
    return cluster.beside([&] { OperatorClient::dial(context).request(name, body); });
  };
  CHECK(ask("nodes", json::object()) == "");
  // What an operator may not, and an admin may.
  for (const char* name : {"token.create", "token.list", "token.revoke", "nodes.remove", "operators",
                           "operator.add", "operator.remove"})
    CHECK_THAT(ask(name, json::object()),
               Contains(fmt::format("cannot use '{}' as operator {}: permission denied (it needs root", name,
                                    token.id)));
  CHECK_THAT(ask("names", json::object()), Contains("it needs a node's certificate"));
  CHECK_THAT(ask("operator.renew", {{"csr", "x"}}), Contains("only named operators"));
  cluster.head.state->journal(cluster.head.state->tokens().revoke(token.id));
  CHECK_THAT(ask("nodes", json::object()), Contains("which admitted it, was revoked"));

  Token worker = cluster.head.token();
  CHECK_THROWS_WITH(join_as_operator("lab", head, worker), Contains("it is for role worker"));
  // Someone else's head gets no token.
  token.ca_pin = std::string(42, 'A') + "E";
  CHECK_THAT(cluster.beside([&] { join_as_operator("lab", head, token); }),
             Contains("its CA isn't the one that the token names"));
  TempDir dir;
  Context stranger = sample("lab", Root::create(join(dir.path(), "r")));
  stranger.head = format_host_port(head);
  CHECK_THAT(cluster.beside([&] { OperatorClient::dial(stranger); }), Contains("from another cluster"));
}

TEST_CASE("an admin adds an operator by name, who renews and is cut off", "[context]") {
  TestCluster cluster;
  setenv("XDG_CONFIG_HOME", join(cluster.dir.path(), "config").c_str(), 1);
  setenv("XDG_DATA_HOME", join(cluster.dir.path(), "data").c_str(), 1);
  cluster.head.start();
  HostPort head{"127.0.0.1", cluster.head.port};
  Context admin;
  CHECK(cluster.beside(
            [&] { admin = join_as_operator("lab", head, cluster.head.token(1, MemberRole::admin)); }) == "");
  Context bob{
      .name = "bob", .head = admin.head, .cluster = {}, .certificate = {}, .key = make_key(), .root = {}};
  auto add = [&](const std::string& name) {
    return cluster.beside([&] {
      Json answer = OperatorClient::dial(admin).request(
          "operator.add", {{"name", name}, {"role", "operator"}, {"csr", make_csr(bob.key)}});
      bob.certificate = parse_certificate(answer.at("certificate").string(), "t");
      bob.root = parse_certificate(answer.at("root").string(), "t");
      bob.cluster = answer.at("cluster").string();
    });
  };
  CHECK_THAT(add("B ob"), Contains("as an operator's name"));
  CHECK(add("bob") == "");
  CHECK_THAT(add("bob"), Contains("there is one of that name"));
  Contexts().save(bob);
  std::string first = to_pem(bob.certificate);
  auto works = [&](Context& who) {
    return cluster.beside([&] { OperatorClient::dial(who).request("nodes", json::object()); });
  };
  CHECK(works(bob) == "");
  CHECK(to_pem(bob.certificate) == first);
  // Past the middle of its life: renewed on the way, and written back.
  const Authority& authority = cluster.head.state->authority();
  Identity identity = bob.identity().identity;
  bob.certificate = authority.issue(bob.key, identity, wall_now() - std::chrono::hours(24 * 16));
  CHECK(works(bob) == "");
  CHECK(Contexts().load("bob").identity().not_after > wall_now() + std::chrono::hours(24 * 29));
  bob = Contexts().load("bob");

  CHECK(cluster.beside([&] {
    OperatorClient client = OperatorClient::dial(bob);
    OperatorClient::dial(admin).request("operator.remove", {{"name", "bob"}});
    client.request("nodes", json::object());
  }) != "");
  CHECK_THAT(works(bob), Contains("operator 'bob' was removed from this cluster"));
  CHECK(cluster.beside([&] {
    Json all = OperatorClient::dial(admin).request("operators", json::object());
    if (!all.at("operators").items().empty()) throw Error("bob is listed");
  }) == "");
  // A restart forgets none of it.
  cluster.head.stop();
  cluster.head.start();
  CHECK_THAT(works(bob), Contains("operator 'bob' was removed from this cluster"));
  bob.certificate =
      cluster.head.state->authority().issue(bob.key, identity, wall_now() - std::chrono::hours(24 * 40));
  CHECK_THAT(works(bob), Contains("its certificate has expired (ask an admin"));
}
