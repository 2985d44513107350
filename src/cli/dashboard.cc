#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/dashboard_gate.h"
#include "cluster/control_address.h"

namespace rayctl::cli {

namespace {

uint16_t port_number(uint64_t number) {
  if (number > 65535) throw UsageError("port {} isn't within 0 and 65535", number);
  return static_cast<uint16_t>(number);
}

int dashboard(const Globals& globals, uint64_t port) {
  cluster::OperatorClient client = connect(globals);
  Json answer = client.request("dashboard", nlohmann::json::object());
  Fd listener = cluster::listen_locally(port_number(port));
  DashboardGate gate{.key = hex(random_bytes(16)),
                     .token = answer.at("token").string(),
                     .port = cluster::port_of(listener.get())};
  fmt::print("{}\n", gate.url());
  std::fflush(stdout);
  info("Ray's dashboard, for the browser that opens this address; Ctrl-C ends it");
  nlohmann::json dial = {{"target", answer.at("target").string()}, {"port", answer.at("port").size()}};
  cluster::forward_port(
      client, std::move(listener), dial, [gate](std::string_view bytes) { return gate.judge(bytes); },
      [](const std::string& error) { return DashboardGate::refusal(502, error); });
  return 0;
}

int forward(const Globals& globals, const std::string& container, const std::string& ports) {
  size_t colon = ports.find(':');
  auto number = [&](const std::string& text) {
    if (text.empty() || text.size() > 5 || text.find_first_not_of("0123456789") != text.npos)
      throw UsageError("rayctl port-forward: '{}' isn't [LOCAL:]REMOTE", ports);
    return port_number(std::stoull(text));
  };
  uint16_t remote = number(colon == ports.npos ? ports : ports.substr(colon + 1));
  uint16_t local = number(colon == ports.npos ? ports : ports.substr(0, colon));
  if (remote == 0) throw UsageError("rayctl port-forward: port 0 isn't one");
  cluster::OperatorClient client = connect(globals);
  Fd listener = cluster::listen_locally(local);
  fmt::print("127.0.0.1:{}\n", cluster::port_of(listener.get()));
  std::fflush(stdout);
  cluster::forward_port(client, std::move(listener), {{"target", container}, {"port", remote}}, {}, {});
  return 0;
}

}  // namespace

Command dashboard_command() {
  auto port = std::make_shared<uint64_t>(0);
  return {.name = "dashboard",
          .group = Group::node,
          .summary = "Open Ray's dashboard on a local port, through the control channel",
          .description =
              "Prints the address to open. Ray's token is added on the way, for the browser that has the "
              "address alone.",
          .arguments = {option("--port", "PORT", port.get(), "the local port (default: a free one)")},
          .examples = {{"rayctl dashboard", "then open what it prints; Ctrl-C ends it"}},
          .run = [port](const Globals& globals) { return dashboard(globals, *port); }};
}

Command port_forward_command() {
  auto container = std::make_shared<std::string>();
  auto ports = std::make_shared<std::string>();
  return {.name = "port-forward",
          .group = Group::node,
          .summary = "Lead a local port to a container's port, through the control channel",
          .description = "The local port is on 127.0.0.1; any user of this machine may use it meanwhile.",
          .arguments = {required(positional("CONTAINER", container.get(),
                                            "id or its beginning, node name, or 'head'")),
                        required(positional("[LOCAL:]REMOTE", ports.get(), "ports; LOCAL 0: a free one"))},
          .examples = {{"rayctl port-forward head 10001", "Ray Client on this machine's port 10001"},
                       {"rayctl port-forward ray-wk-0 9000:8080", "a worker's metrics on port 9000"}},
          .run = [container, ports](const Globals& globals) { return forward(globals, *container, *ports); }};
}

}  // namespace rayctl::cli
