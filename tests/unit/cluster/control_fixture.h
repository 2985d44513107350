// A head and nodes in one process and one event loop, over real sockets on the loopback.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/log.h"
#include "cluster/cluster_state.h"
#include "cluster/control_client.h"
#include "cluster/control_server.h"

namespace rayctl::cluster {

inline Cluster test_cluster() {
  Cluster cluster;
  cluster.pool = "10.64.0.0/12";
  cluster.overlay = "vxlan";
  cluster.image = "ray";
  cluster.workers = 2;
  return cluster;
}

// Runs the loop until `done` says so; false when it didn't within `time`.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& done,
                      std::chrono::milliseconds time = std::chrono::seconds(30)) {
  auto end = std::chrono::steady_clock::now() + time;
  io.restart();
  while (!done() && std::chrono::steady_clock::now() < end) io.run_one_for(std::chrono::milliseconds(20));
  return done();
}

struct TestHead {
  Paths paths;
  boost::asio::io_context& io;
  RequestTable requests = {};
  std::unique_ptr<ClusterState> state = {};
  std::unique_ptr<ControlServer> server = {};
  std::vector<std::pair<std::string, std::string>> reports = {};
  uint16_t port = 0;
  MembershipTimes times = {};
  int views = 0;

  void start(ServerConfig config = {}) {
    state = ClusterState::open(paths, test_cluster(), {.underlay = "127.0.0.1"}, times, current_time());
    config.listen_host = "127.0.0.1";
    config.listen_port = port;
    if (config.batch == ServerConfig{}.batch) config.batch = std::chrono::milliseconds(20);
    ServerCallbacks callbacks;
    callbacks.on_view = [this](const ClusterView&, const std::set<std::string>&) { ++views; };
    callbacks.on_report = [this](const std::string& id, const Json& report) {
      reports.emplace_back(id, report.raw().dump());
    };
    server = std::make_unique<ControlServer>(io, *state, requests, config, std::move(callbacks));
    server->start();
    port = server->port();
  }
  void stop() {
    server.reset();
    state.reset();
    requests = {};
    run_until(
        io, [] { return false; }, std::chrono::milliseconds(50));
  }
  Token token(uint32_t uses = 100, MemberRole role = MemberRole::worker) {
    return state->create_token(role, std::chrono::hours(1), uses, wall_now());
  }
};

struct TestNode {
  Paths paths;
  boost::asio::io_context& io;
  RequestTable requests = {};
  std::unique_ptr<ControlClient> client = {};
  int views = 0, connects = 0;
  std::string refused = {}, disconnected = {};

  void start(const TestHead& head, std::optional<Token> token, const std::string& name = "") {
    ClientConfig config;
    config.head = {"127.0.0.1", head.port};
    config.token = std::move(token);
    config.facts.name = name;
    config.backoff = {std::chrono::milliseconds(20), std::chrono::milliseconds(100)};
    start(config);
  }
  void start(const ClientConfig& config) {
    ClientCallbacks callbacks;
    callbacks.on_view = [this](const ClusterView&, const std::set<std::string>&) { ++views; };
    callbacks.on_connected = [this] { ++connects; };
    callbacks.on_refused = [this](const std::string& reason) { refused = reason; };
    callbacks.on_disconnected = [this](const std::string& reason) { disconnected = reason; };
    client = std::make_unique<ControlClient>(io, paths, config, requests, std::move(callbacks));
    client->start();
  }
};

// Members in the order of their construction: nodes end before the head, all before the loop.
struct TestCluster {
  TempDir dir;
  boost::asio::io_context io;
  TestHead head{paths("head"), io};

  TestCluster() { set_log({.level = Level::error}); }
  ~TestCluster() { set_log({}); }
  Paths paths(const std::string& name) const {
    return {join(dir.path(), name), join(dir.path(), name + "-run")};
  }
  std::unique_ptr<TestNode> node(const std::string& name) {
    return std::unique_ptr<TestNode>(new TestNode{paths(name), io});
  }
  bool until(const std::function<bool()>& done, std::chrono::milliseconds time = std::chrono::seconds(30)) {
    return run_until(io, done, time);
  }
  // A call that blocks, beside the loop that answers it; its error, empty when it worked.
  std::string beside(const std::function<void()>& work) {
    std::string error;
    std::atomic<bool> done{false};
    std::thread thread([&] {
      try {
        work();
      } catch (const std::exception& e) {
        error = e.what();
      }
      done = true;
    });
    bool ended = until([&] { return bool(done); });
    thread.join();
    CHECK(ended);
    return error;
  }
};

}  // namespace rayctl::cluster
