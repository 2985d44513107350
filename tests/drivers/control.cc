// A head, workers and clients of the control plane without anything else of a node, for functional tests:
//   control head STATE RUN [HOST:]PORT [KEY=VALUE…]   suspect=, down= (ms), greeting= (s), pending=
//   control worker STATE RUN HOST:PORT [token=FILE] [name=NAME]
//   control swarm N HOST:PORT token=FILE              N workers in one process (swarm.h); takes "mute N",
//   "unmute", "leave N" and ends when stdin does
//   control ask RUN REQUEST JSON                      prints the answer
//   control run RUN REQUEST JSON                      with stdin and stdout; the exit code is the answer's
//   control garbage HOST:PORT N                       N connections that send nonsense or nothing; ends when
//   stdin does
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/child.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_address.h"
#include "cluster/control_client.h"
#include "cluster/control_local.h"
#include "cluster/control_pump.h"
#include "cluster/control_server.h"
#include "cluster/operator_client.h"
#include "drivers/swarm.h"

using namespace rayctl;
using namespace rayctl::cluster;
using nlohmann::json;

namespace {

struct Arguments {
  std::vector<std::string> plain = {};
  std::map<std::string, std::string> named = {};
  std::string at(size_t i) const { return i < plain.size() ? plain[i] : throw Error("too few arguments"); }
  std::string get(const std::string& key, const std::string& fallback = "") const {
    auto it = named.find(key);
    return it == named.end() ? fallback : it->second;
  }
};

size_t rss_kib() {
  std::string text = read_file("/proc/self/status");
  size_t at = text.find("VmRSS:");
  return std::stoull(text.substr(at + 6));
}

void say(const std::string& line) {
  std::cout << line << std::endl;
}

void run_until_signal(boost::asio::io_context& io) {
  boost::asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code&, int) { io.stop(); });
  io.run();
}

int head(const Arguments& arguments) {
  boost::asio::io_context io;
  Paths paths{arguments.at(0), arguments.at(1)};
  Cluster cluster;
  cluster.pool = "10.64.0.0/12";
  cluster.overlay = "vxlan";
  cluster.image = "ray";
  MembershipTimes times;
  times.suspect_after = std::chrono::milliseconds(std::stol(arguments.get("suspect", "15000")));
  times.down_after = std::chrono::milliseconds(std::stol(arguments.get("down", "45000")));
  auto state = ClusterState::open(paths, cluster, {.underlay = "127.0.0.1"}, times, current_time());
  RequestTable requests;
  std::string where = arguments.at(2);  // HOST:0 is any free port
  size_t colon = where.rfind(':');
  ServerConfig config{.listen_host = where.substr(0, colon),
                      .listen_port = static_cast<uint16_t>(std::stoul(where.substr(colon + 1)))};
  config.greeting_time = std::chrono::seconds(std::stol(arguments.get("greeting", "10")));
  config.max_pending = std::stoul(arguments.get("pending", "256"));
  ServerCallbacks callbacks;
  callbacks.on_report = [](const std::string& id, const Json& report) {
    say("report " + id + " " + report.raw().dump());
  };
  ControlServer server(io, *state, requests, config, callbacks);
  for (const char* name : {"exec", "flood"})
    requests.on(name, Access::operate, [&server](const Request& request, const ChannelPtr& channel) {
      const Node* node = find_node(server.view(), request.body.at("node").string());
      ConnectionPtr to = node ? server.connection(node->id) : nullptr;
      if (!to) throw Error("node '{}' is not connected", request.body.at("node").string());
      relay(channel, to, request.name, request.body.raw());
    });
  requests.on("stat", Access::operate, [&server](const Request&, const ChannelPtr& channel) {
    auto counters = server.counters();
    channel->respond({{"rss", rss_kib()},
                      {"connections", counters.connections},
                      {"pending", counters.pending},
                      {"nodes", counters.nodes},
                      {"joins", counters.joins},
                      {"state_bytes", counters.bytes_of_state},
                      {"epoch", server.view().epoch}});
  });
  server.start();
  LocalServer local(io, paths.run_dir, requests);
  say("ready " + std::to_string(server.port()));
  run_until_signal(io);
  return 0;
}

void serve_worker(boost::asio::io_context& io, RequestTable& requests) {
  requests.on("exec", Access::operate, [&io](const Request& request, const ChannelPtr& channel) {
    Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
    auto child = std::make_shared<Child>(Child::spawn({.argv = request.body.at("argv").strings(),
                                                       .in = in.read.get(),
                                                       .out = out.write.get(),
                                                       .err = err.write.get()}));
    channel->on_event([](const Json& event) { say("event " + event.raw().dump()); });
    pump_stdio(io, {std::move(in.write), std::move(out.read), std::move(err.read)}, channel,
               [channel, child] {
                 channel->respond({{"code", child->wait().code.value_or(255)}});
               });
  });
  // Writes without end, as `logs -f` of a busy program does.
  requests.on("flood", Access::operate, [](const Request&, const ChannelPtr& channel) {
    auto write = [channel, bytes = std::string(16384, 'x')] {
      while (channel->writable() >= bytes.size()) channel->write(bytes);
    };
    channel->on_writable(write);
    channel->on_cancelled([channel](const std::string& reason) { say("cancelled " + reason); });
    write();
  });
}

ClientConfig client_config(const Arguments& arguments, const std::string& where) {
  ClientConfig config;
  config.head = parse_host_port(where, default_control_port);
  if (std::string file = arguments.get("token"); !file.empty()) config.token = read_token(file);
  config.facts.name = arguments.get("name");
  config.heartbeat = std::chrono::milliseconds(std::stol(arguments.get("heartbeat", "5000")));
  config.head_silent = 3 * config.heartbeat;
  config.backoff.most = std::chrono::milliseconds(std::stol(arguments.get("backoff", "15000")));
  return config;
}

int worker(const Arguments& arguments) {
  boost::asio::io_context io;
  Paths paths{arguments.at(0), arguments.at(1)};
  RequestTable requests;
  serve_worker(io, requests);
  std::string refused;
  ControlClient* known = nullptr;
  ClientCallbacks callbacks;
  callbacks.on_connected = [] { say("connected"); };
  callbacks.on_disconnected = [](const std::string& reason) { say("disconnected " + reason); };
  callbacks.on_view = [&](const ClusterView& view, const std::set<std::string>&) {
    say(fmt::format("view {} {} epoch {} nodes {}", known->self()->name, known->self()->address, view.epoch,
                    view.nodes.size()));
  };
  callbacks.on_refused = [&](const std::string& reason) {
    refused = reason;
    io.stop();
  };
  ControlClient client(io, paths, client_config(arguments, arguments.at(2)), requests, callbacks);
  known = &client;
  LocalServer local(io, paths.run_dir, requests);
  client.start();
  run_until_signal(io);
  if (!refused.empty()) throw Error("{}", refused);
  return 0;
}

int swarm(const Arguments& arguments) {
  boost::asio::io_context io;
  std::atomic<bool> stop{false};
  auto head = resolve(parse_host_port(arguments.at(1), default_control_port), stop).at(0);
  auto token = read_token(arguments.get("token"));
  if (!token) throw Error("swarm needs token=FILE");
  Swarm crowd(io, head, *token, std::stoul(arguments.at(0)), say);
  crowd.start();
  boost::asio::posix::stream_descriptor input(io, fcntl(0, F_DUPFD_CLOEXEC, 3));
  std::string text;
  std::function<void()> listen = [&] {
    boost::asio::async_read_until(input, boost::asio::dynamic_buffer(text), '\n',
                                  [&](const boost::system::error_code& error, size_t size) {
                                    if (error) return io.stop();
                                    auto words = split(text.substr(0, size - 1), ' ');
                                    text.erase(0, size);
                                    if (words.at(0) == "mute") crowd.mute(std::stoul(words.at(1)));
                                    if (words.at(0) == "unmute") crowd.unmute();
                                    if (words.at(0) == "leave") crowd.leave(std::stoul(words.at(1)));
                                    listen();
                                  });
  };
  listen();
  run_until_signal(io);
  return 0;
}

int ask(const Arguments& arguments) {
  say(OperatorClient::local(arguments.at(0))
          .request(arguments.at(1), json::parse(arguments.at(2)))
          .raw()
          .dump());
  return 0;
}

int run(const Arguments& arguments) {
  OperatorClient socket = OperatorClient::local(arguments.at(0));
  Json answer = socket.run(arguments.at(1), json::parse(arguments.at(2)),
                           {.in = 0, .out = write_to(1, "stdout"), .err = write_to(2, "stderr")});
  return static_cast<int>(answer.at("code").integer());
}

int garbage(const Arguments& arguments) {
  std::atomic<bool> stop{false};
  auto address = resolve(parse_host_port(arguments.at(0), default_control_port), stop).at(0);
  std::vector<Fd> open;
  for (size_t i = 0; i < std::stoul(arguments.at(1)); ++i) {
    open.push_back(begin_connect(address));
    usleep(1000);
    std::string bytes = i % 3 == 0 ? "GET / HTTP/1.1\r\n\r\n" : i % 3 == 1 ? random_bytes(3000) : "";
    send(open.back().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  say("sent");
  while (std::cin.get() != EOF) {
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  Arguments arguments;
  for (int i = 2; i < argc; ++i) {
    std::string text = argv[i];
    size_t equals = text.find('=');
    if (equals != std::string::npos && text.find_first_of("{/:") > equals)
      arguments.named[text.substr(0, equals)] = text.substr(equals + 1);
    else
      arguments.plain.push_back(text);
  }
  std::string command = argc > 1 ? argv[1] : "";
  if (command == "swarm") set_log({.level = Level::error});
  for (const auto& [name, function] : std::map<std::string, int (*)(const Arguments&)>{{"head", head},
                                                                                       {"worker", worker},
                                                                                       {"swarm", swarm},
                                                                                       {"ask", ask},
                                                                                       {"run", run},
                                                                                       {"garbage", garbage}})
    if (command == name) return function(arguments);
  throw UsageError("no command '{}'", command);
} catch (const std::exception& e) {
  log_failure(e.what());
  return 1;
}
