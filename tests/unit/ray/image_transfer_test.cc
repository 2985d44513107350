// Images and ports over control connections: an operator and a worker against a head, over real sockets.
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include "base/encoding.h"
#include "cluster/context.h"
#include "cluster/port_forward.h"
#include "fleet/head_images.h"
#include "oci/pull.h"
#include "ray/dial.h"
#include "ray/image_access.h"
#include "ray/image_server.h"
#include "ray/registries.h"
#include "unit/cluster/control_fixture.h"

using namespace rayctl;
using namespace rayctl::ray;
using Catch::Contains;
using nlohmann::json;

namespace {

struct Lab {
  cluster::TestCluster cluster;
  std::vector<std::string> came = {};
  std::unique_ptr<ImageServer> images = {};
  cluster::Context admin = {}, oper = {};

  Lab() {
    images = std::make_unique<ImageServer>(cluster.io, cluster.head.paths, cluster.head.requests,
                                           [this](const std::string& name) { came.push_back(name); });
    register_registry_requests(cluster.head.requests, cluster.head.paths);
    cluster.head.start();
    cluster::HostPort head{"127.0.0.1", cluster.head.port};
    cluster::Token for_admin = cluster.head.token(1, cluster::MemberRole::admin),
                   for_operator = cluster.head.token(1, cluster::MemberRole::operator_);
    REQUIRE(beside([&] {
              admin = cluster::join_as_operator("a", head, for_admin);
              oper = cluster::join_as_operator("o", head, for_operator);
            }) == "");
  }
  std::string beside(const std::function<void()>& work) { return cluster.beside(work); }
  oci::Store head_store() const { return oci::Store(join(cluster.head.paths.state_dir, "store")); }
};

// An image of one layer that nobody unpacks.
oci::Descriptor make_image(oci::Store& store, size_t layer_size) {
  std::string diff = "sha256:" + hex(sha256("x"));
  oci::Manifest manifest;
  manifest.layers = {store.put(random_bytes(layer_size), oci::media::oci_layer_gzip)};
  json config = {{"architecture", oci::host_platform().architecture},
                 {"os", "linux"},
                 {"config", json::object()},
                 {"rootfs", {{"type", "layers"}, {"diff_ids", {diff}}}}};
  manifest.config = store.put(config.dump(), oci::media::oci_config);
  return store.put(oci::to_json(manifest), oci::media::oci_manifest);
}

// A worker's tie to the head, and nothing else of a node.
struct Tie : NodeControl {
  cluster::ControlClient& client;
  std::map<std::string, NodeReport> none = {};
  explicit Tie(cluster::ControlClient& client) : client(client) {}
  void start() override {}
  cluster::ClusterView view() const override { return client.view(); }
  const cluster::Node* self() const override { return client.self(); }
  void report(const NodeReport&) override {}
  std::string trouble() const override { return ""; }
  const std::map<std::string, NodeReport>& reports() const override { return none; }
  bool connected(const std::string&) const override { return true; }
  void forward(const std::string&, const cluster::ChannelPtr&, std::string_view, const json&) override {}
  cluster::ChannelPtr ask_head(std::string_view name, const json& body,
                               cluster::Completion completion) override {
    return client.request(name, body, std::move(completion));
  }
  void set_network_facts(const std::string&, const std::string&) override {}
  void set_names(const cluster::ContainerNames&) override {}
  void set_setting(const std::string&, const std::string&) override {}
  void ray_token(std::function<void(const std::string&, const std::string&)>) override {}
};

}  // namespace

TEST_CASE("an image goes to the head, only what is missing, and on to a worker", "[images]") {
  Lab lab;
  oci::Store mine(join(lab.cluster.dir.path(), "mine"));
  oci::Descriptor image = make_image(mine, 5'000'000);
  oci::Descriptor layer = oci::parse_manifest(mine.read(image)).layers.at(0);

  // A try that breaks off leaves its part.
  CHECK(lab.beside([&] {
    auto client = cluster::OperatorClient::dial(lab.oper);
    Pipe pipe = make_pipe();
    std::thread feeder([&] {
      write_fd(pipe.write.get(), std::string(100'000, 'x'), "t");
      pipe.write.reset();
    });
    try {
      client.run("image.put", {{"digest", layer.digest.string()}, {"size", layer.size}, {"media_type", ""}},
                 {.in = pipe.read.get()});
    } catch (...) {
      feeder.join();
      throw;
    }
    feeder.join();
  }) != "");
  // What it left is wrong: the digest says so at the end, and the next try begins anew.
  auto push = [&](const std::string& name) {
    return lab.beside([&] {
      auto client = cluster::OperatorClient::dial(lab.oper);
      fleet::push_to_head(client, mine, image, name);
    });
  };
  CHECK_THAT(push("ray:1"), Contains(layer.digest.string()) || Contains("digest"));
  CHECK(lab.came.empty());
  CHECK_FALSE(lab.head_store().has(layer));
  CHECK(push("ray:1") == "");
  CHECK(lab.came == std::vector<std::string>{"ray:1"});
  CHECK(lab.head_store().find("docker.io/library/ray:1")->digest == image.digest);
  CHECK(push("ray:2") == "");

  // Nothing is named before all of it is there.
  oci::Descriptor other = make_image(mine, 1000);
  CHECK_THAT(lab.beside([&] {
    json body = {{"digest", other.digest.string()}, {"size", other.size}, {"media_type", other.media_type}};
    body["name"] = "x:1";
    cluster::OperatorClient::dial(lab.oper).request("image.tag", body);
  }),
             Contains("cannot name image 'x:1'"));

  // The worker: by name, verified, in its own store.
  auto worker = lab.cluster.node("w");
  worker->start(lab.cluster.head, lab.cluster.head.token());
  REQUIRE(lab.cluster.until([&] { return worker->client->connected() && worker->views > 0; }));
  Tie tie(*worker->client);
  auto access = worker_image_access(lab.cluster.io, [&]() -> NodeControl& { return tie; });
  oci::Store theirs(join(lab.cluster.dir.path(), "theirs"));
  CHECK(lab.beside([&] { oci::pull(*access->head_images(), "docker.io/library/ray:1", theirs, nullptr); }) ==
        "");
  CHECK(theirs.has(layer));
  CHECK_THAT(lab.beside([&] { access->head_images()->manifest("docker.io/library/none:1"); }),
             Contains("the head has no image 'none:1' yet (rayctl push head:none:1)"));
  // Workers don't push, operators don't fetch.
  std::optional<cluster::Reply> refused;
  worker->client->request("image.tag", json::object(), [&](const cluster::Reply& reply) { refused = reply; });
  REQUIRE(lab.cluster.until([&] { return bool(refused); }));
  CHECK_THAT(refused->error, Contains("permission denied"));
  CHECK_THAT(
      lab.beside([&] { cluster::OperatorClient::dial(lab.oper).request("image.blob", json::object()); }),
      Contains("it needs a node's certificate"));

  // Logins: an admin's to give, a node's to have, nobody's to read.
  auto set = [&](cluster::Context& who) {
    return lab.beside([&] {
      auto client = cluster::OperatorClient::dial(who);
      fleet::give_registry_login(client, "localhost:5000", {.username = "u", .password = "secret"}, "PEM");
    });
  };
  CHECK_THAT(set(lab.oper), Contains("permission denied"));
  CHECK(set(lab.admin) == "");
  std::string file = join(lab.cluster.head.paths.state_dir, "cluster/registries.json");
  CHECK((status(file)->st_mode & 0777) == 0600);
  RegistryAccess known;
  CHECK(lab.beside([&] { known = access->registry("localhost:5000"); }) == "");
  CHECK(known.credentials->password == "secret");
  CHECK(known.ca == "PEM");
  CHECK(lab.beside([&] {
    std::string list =
        cluster::OperatorClient::dial(lab.admin).request("registries", json::object()).raw().dump();
    if (list != R"({"registries":["localhost:5000"]})") throw Error("{}", list);
  }) == "");
  CHECK_THAT(lab.beside([&] {
    cluster::OperatorClient::dial(lab.oper).request("registry.get", {{"host", "localhost:5000"}});
  }),
             Contains("it needs a node's certificate"));
  access->stop();
  CHECK_THROWS_WITH(access->head_images()->manifest("x"), Contains("supervisor stops"));
  lab.images.reset();
}

TEST_CASE("a local port leads to a container's, and its end both ways", "[images]") {
  Lab lab;
  // The "container": echoes what it reads until the end, then says so.
  Fd listener = cluster::listen_on({"127.0.0.1", 0});
  uint16_t inside = cluster::port_of(listener.get());
  std::thread echo([fd = listener.get()] {
    Fd peer;
    while (!peer) {
      peer = Fd(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    std::string all;
    char buffer[4096];
    for (ssize_t size; (size = read(peer.get(), buffer, sizeof buffer)) > 0;)
      all.append(buffer, static_cast<size_t>(size));
    write_fd(peer.get(), all + "end", "t");
  });
  lab.cluster.head.requests.on("dial", cluster::Access::operate,
                               [&](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                                 serve_dial(lab.cluster.io, "127.0.0.1",
                                            static_cast<uint16_t>(request.body.at("port").size()), channel);
                               });
  Fd local = cluster::listen_locally(0);
  uint16_t outside = cluster::port_of(local.get());
  std::string ended, got, refused;
  std::atomic<bool> done{false};
  std::thread forward([&] {
    try {
      auto client = cluster::OperatorClient::dial(lab.oper);
      cluster::forward_port(client, std::move(local), {{"port", inside}}, {}, {});
    } catch (const Error& e) {
      ended = e.message();
    }
    done = true;
  });
  std::string sent(300'000, 'y');
  CHECK(lab.beside([&] {
    std::atomic<bool> stop{false};
    Fd socket = cluster::begin_connect(cluster::resolve({"127.0.0.1", outside}, stop).at(0));
    int flags = fcntl(socket.get(), F_GETFL);
    fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK);
    write_fd(socket.get(), sent, "t");
    shutdown(socket.get(), SHUT_WR);
    got = read_fd(socket.get(), "t");
  }) == "");
  CHECK(got == sent + "end");
  echo.join();
  lab.cluster.head.stop();
  REQUIRE(lab.cluster.until([&] { return bool(done); }));
  forward.join();
  CHECK(ended == "the connection to the head was lost");
}
