#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <thread>

#include "base/child.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/io.h"
#include "cluster/control_local.h"
#include "cluster/control_pump.h"
#include "cluster/operator_client.h"
#include "control_fixture.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;
using nlohmann::json;

namespace {

// A worker that runs a program with its stdio on the channel, as `exec` does.
void serve_exec(TestNode& node, std::vector<std::string> argv) {
  node.requests.on("exec", Access::operate, [&node, argv](const Request&, const ChannelPtr& channel) {
    Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
    auto child = std::make_shared<Child>(
        Child::spawn({.argv = argv, .in = in.read.get(), .out = out.write.get(), .err = err.write.get()}));
    pump_stdio(node.io, {std::move(in.write), std::move(out.read), std::move(err.read)}, channel,
               [channel, child] {
                 channel->respond({{"code", child->wait().code.value_or(-1)}});
               });
  });
}

struct JoinedCluster : TestCluster {
  std::unique_ptr<TestNode> worker = node("w0");
  JoinedCluster() {
    head.start();
    worker->start(head, head.token());
    REQUIRE(until([&] { return worker->client->connected() && worker->views > 0; }));
  }
  ChannelPtr ask(std::string_view name, const json& body, Completion completion) {
    return head.server->request(worker->client->node_id(), name, body, std::move(completion));
  }
};

// The same with the loop in a thread and the head's control socket, for the synchronous client.
struct LocalCluster : JoinedCluster {
  std::unique_ptr<LocalServer> local;
  std::thread thread;
  explicit LocalCluster(const std::function<void(LocalCluster&)>& prepare = {}) {
    if (prepare) prepare(*this);
    local = std::make_unique<LocalServer>(io, head.paths.run_dir, head.requests);
    io.restart();
    thread = std::thread([this] {
      auto guard = boost::asio::make_work_guard(io);
      io.run();
    });
  }
  ~LocalCluster() {
    io.stop();
    thread.join();
  }
};

}  // namespace

TEST_CASE("requests go both ways and fail with their reason", "[control]") {
  JoinedCluster cluster;
  cluster.worker->requests.on(
      "double", Access::operate, [](const Request& request, const ChannelPtr& channel) {
        channel->respond({{"is", request.body.at("n").integer() * 2}, {"for", request.peer.label}});
      });
  std::optional<Reply> a, b, c, d;
  cluster.ask("double", {{"n", 21}}, [&](const Reply& reply) { a = reply; });
  cluster.ask("double", {{"m", 21}}, [&](const Reply& reply) { b = reply; });
  cluster.ask("nonsense", json::object(), [&](const Reply& reply) { c = reply; });
  cluster.head.server->request("0123", "double", json::object(), [&](const Reply& reply) { d = reply; });
  CHECK_FALSE(a);
  REQUIRE(cluster.until([&] { return a && b && c && d; }));
  CHECK(a->value().at("is").integer() == 42);
  CHECK(a->value().at("for").string() == "the head");
  CHECK(b->error == "request.body.n: missing");
  CHECK(c->error == "cannot answer 'nonsense': unknown to this version");
  CHECK(d->error == "node '0123' is not connected");
  CHECK_THROWS_WITH(c->value(), Contains("unknown"));

  std::optional<Reply> e;
  cluster.worker->requests.on("never", Access::operate, [](const Request&, const ChannelPtr&) {});
  cluster.head.server->request(
      cluster.worker->client->node_id(), "never", json::object(), [&](const Reply& reply) { e = reply; },
      std::chrono::milliseconds(50));
  REQUIRE(cluster.until([&] { return bool(e); }));
  CHECK(e->error == "no answer to 'never' within 0.05s");
}

TEST_CASE("a lost connection answers what waits", "[control]") {
  JoinedCluster cluster;
  bool cancelled = false;
  cluster.worker->requests.on("never", Access::operate, [&](const Request&, const ChannelPtr& channel) {
    channel->on_cancelled([&, channel](const std::string&) { cancelled = true; });
  });
  std::optional<Reply> reply;
  cluster.ask("never", json::object(), [&](const Reply& answer) { reply = answer; });
  REQUIRE(cluster.until(
      [&] { return cluster.head.server->connection(cluster.worker->client->node_id())->channels() == 1; }));
  cluster.until([] { return false; }, std::chrono::milliseconds(50));
  cluster.head.server->connection(cluster.worker->client->node_id())->close("test");
  REQUIRE(cluster.until([&] { return reply && cancelled; }));
  CHECK(reply->error == "the connection is lost: test");
}

TEST_CASE("a slow reader stops its writer and nobody else", "[control]") {
  JoinedCluster cluster;
  size_t written = 0;
  bool ended = false;
  cluster.worker->requests.on("flood", Access::operate, [&](const Request&, const ChannelPtr& channel) {
    auto write = [&written, channel, bytes = std::string(8192, 'x')] {
      while (channel->writable() >= bytes.size()) {
        channel->write(bytes);
        written += bytes.size();
      }
    };
    channel->on_writable(write);
    channel->on_cancelled([&ended](const std::string& reason) { ended = reason == "enough"; });
    write();
  });
  cluster.worker->requests.on("ping", Access::operate, [](const Request&, const ChannelPtr& channel) {
    channel->respond(json::object());
  });
  size_t got = 0;
  bool reading = false;
  ChannelPtr channel = cluster.ask("flood", json::object(), [](const Reply&) {});
  channel->on_data([&](std::string_view bytes, Lane) {
    got += bytes.size();
    if (reading) channel->consumed(bytes.size());
  });
  REQUIRE(cluster.until([&] { return got == channel_window; }));
  cluster.until([] { return false; }, std::chrono::milliseconds(50));
  CHECK(got == channel_window);
  CHECK(written == channel_window);
  std::optional<Reply> pong;
  cluster.ask("ping", json::object(), [&](const Reply& reply) { pong = reply; });
  REQUIRE(cluster.until([&] { return bool(pong); }));
  reading = true;
  channel->consumed(got);
  REQUIRE(cluster.until([&] { return got > 20 * channel_window; }));
  channel->cancel("enough");
  REQUIRE(cluster.until([&] { return ended; }));
  CHECK(cluster.worker->client->connected());
}

TEST_CASE("a program's stdio runs through the head and back, unchanged", "[control]") {
  std::string bytes = random_bytes(3'000'000);
  LocalCluster cluster([](LocalCluster& c) {
    serve_exec(*c.worker, {"sh", "-c", "echo started >&2; cat; exit 7"});
    c.head.requests.on("exec", Access::operate, [&c](const Request& request, const ChannelPtr& channel) {
      relay(channel, c.head.server->connection(c.worker->client->node_id()), request.name,
            request.body.raw());
    });
  });
  TempDir dir;
  std::string file = join(dir.path(), "in"), out, err;
  replace_file(file, bytes);
  Fd in = open_file(file, O_RDONLY);
  OperatorClient socket = OperatorClient::local(cluster.head.paths.run_dir);
  Json answer = socket.run("exec", json::object(),
                           {.in = in.get(),
                            .out = [&](Bytes b) { out += as_text(b); },
                            .err = [&](Bytes b) { err += as_text(b); }});
  CHECK(answer.at("code").integer() == 7);
  CHECK(err == "started\n");
  CHECK(out.size() == bytes.size());
  CHECK(out == bytes);
  // The same connection again, with a pipe, and with nothing.
  Pipe pipe = make_pipe();
  std::thread writer([&] {
    write_fd(pipe.write.get(), "from a pipe", "pipe");
    pipe.write.reset();
  });
  out.clear();
  socket.run("exec", json::object(), {.in = pipe.read.get(), .out = [&](Bytes b) { out += as_text(b); }});
  writer.join();
  CHECK(out == "from a pipe");
  CHECK(socket.run("exec", json::object(), {}).at("code").integer() == 7);
}

TEST_CASE("an input that epoll refuses is read all the same", "[control]") {
  LocalCluster cluster([](LocalCluster& c) {
    c.head.requests.on("cat", Access::operate, [](const Request&, const ChannelPtr& channel) {
      channel->on_end([channel] { channel->respond({{"ended", true}}); });
      channel->on_cancelled([channel](const std::string&) {});
    });
  });
  OperatorClient socket = OperatorClient::local(cluster.head.paths.run_dir);
  Fd null = open_file("/dev/null", O_RDONLY);
  // A command that waits for an input which never comes must not hold up the tests.
  auto timer = std::make_shared<boost::asio::steady_timer>(cluster.io, std::chrono::seconds(20));
  timer->async_wait([&](auto error) {
    if (!error) cluster.local = nullptr;
  });
  CHECK(socket.run("cat", json::object(), {.in = null.get()}).at("ended").boolean());
}

TEST_CASE("a request whose input can't be used is given up", "[control]") {
  auto cancelled = std::make_shared<std::atomic<int>>(0);
  LocalCluster cluster([&](LocalCluster& c) {
    c.head.requests.on("never", Access::operate, [cancelled](const Request&, const ChannelPtr& channel) {
      channel->on_cancelled([cancelled](const std::string&) { ++*cancelled; });
    });
    c.head.requests.on("ping", Access::operate, [](const Request&, const ChannelPtr& channel) {
      channel->respond({{"pong", true}});
    });
  });
  OperatorClient socket = OperatorClient::local(cluster.head.paths.run_dir);
  // As with `<&-` in a shell. No other thread opens a file with this number.
  constexpr int closed = 1 << 20;
  CHECK_THROWS_WITH(socket.run("never", json::object(), {.in = closed}),
                    "cannot use the input: Bad file descriptor");
  CHECK(socket.request("ping", json::object()).at("pong").boolean());
  for (int i = 0; i < 1000 && *cancelled == 0; ++i) usleep(10000);
  CHECK(*cancelled == 1);
}

TEST_CASE("a client that leaves ends what it began on the node", "[control]") {
  std::shared_ptr<std::atomic<int>> cancelled = std::make_shared<std::atomic<int>>(0);
  LocalCluster cluster([&](LocalCluster& c) {
    c.worker->requests.on("logs", Access::operate, [cancelled](const Request&, const ChannelPtr& channel) {
      channel->write("line\n");
      channel->on_cancelled([cancelled, channel](const std::string&) { ++*cancelled; });
    });
    c.head.requests.on("logs", Access::operate, [&c](const Request& request, const ChannelPtr& channel) {
      relay(channel, c.head.server->connection(c.worker->client->node_id()), request.name,
            request.body.raw());
    });
  });
  OperatorClient socket = OperatorClient::local(cluster.head.paths.run_dir);
  // The client's own output fails, as when its pipe is closed: the error is that one.
  CHECK_THROWS_WITH(socket.run("logs", json::object(),
                               {.out = [](Bytes) { throw Error("cannot write 'stdout': Broken pipe"); }}),
                    "cannot write 'stdout': Broken pipe");
  for (int i = 0; i < 1000 && *cancelled == 0; ++i) usleep(10000);
  CHECK(*cancelled == 1);
}

TEST_CASE("the control socket says what is wrong", "[control]") {
  TempDir dir;
  CHECK_THROWS_WITH(OperatorClient::local(dir.path()),
                    Contains("none runs here (start one: rayctl node --role head|worker"));
  CHECK_THROWS_WITH(OperatorClient::local(std::string(200, 'x')),
                    Contains("its path is longer than 107 bytes (choose a shorter --run-dir)"));
  boost::asio::io_context io;
  RequestTable table;
  LocalServer server(io, dir.path(), table);
  CHECK((status(control_socket_path(dir.path()))->st_mode & 0777) == 0600);
  CHECK_THROWS_WITH(LocalServer(io, dir.path(), table), Contains("a supervisor answers there already"));
}

TEST_CASE("a dead supervisor's socket is replaced, a living one's never removed by another", "[control]") {
  TempDir dir;
  boost::asio::io_context io;
  RequestTable table;
  auto first = std::make_unique<LocalServer>(io, dir.path(), table);
  std::string path = control_socket_path(dir.path());
  // As after kill -9: the file stays, nobody listens.
  REQUIRE(rename(path.c_str(), (path + ".old").c_str()) == 0);
  first = nullptr;
  REQUIRE(rename((path + ".old").c_str(), path.c_str()) == 0);
  LocalServer second(io, dir.path(), table);
  CHECK(exists(path));
}
