#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"

namespace rayctl::cli {

namespace {

constexpr auto check_deadline = std::chrono::seconds(30);

// The nodes that a command without one is about: all that are connected, or this one on a worker.
std::vector<std::string> all_nodes(cluster::OperatorClient& client) {
  std::vector<std::string> names;
  Json reply = client.request("status", nlohmann::json::object());
  for (const Json& node : reply.at("nodes").items())
    if (node.at("status").string() == "joined" || node.at("status").string() == "suspect")
      names.push_back(node.at("name").string());
  return names;
}

std::vector<std::string> nodes_or_all(cluster::OperatorClient& client,
                                      const std::vector<std::string>& given) {
  return given.empty() ? all_nodes(client) : given;
}

// --- rules ---

void print_rules(const Json& reply) {
  fmt::print("{}:\n", printable(reply.at("node").string()));
  std::vector<std::vector<std::string>> rows;
  for (const Json& rule : reply.at("rules").items())
    rows.push_back({rule.at("from").string(), rule.at("to").string(), rule.at("what").string(),
                    rule.at("allowed").boolean() ? "allowed" : "dropped"});
  fmt::print("{}", render_table({"FROM", "TO", "WHAT", ""}, rows));
  for (const auto& [end, addresses] : reply.at("members").members()) {
    std::string line = printable(end) + ":";
    for (const std::string& address : addresses.strings()) line += " " + printable(address);
    fmt::print("{}\n", line);
  }
}

Command rules_command() {
  auto nodes = std::make_shared<std::vector<std::string>>();
  auto format = std::make_shared<std::string>("table");
  return {.name = "rules",
          .summary = "Print who may reach whom, as the kernel has it",
          .description =
              "The first line that fits decides. What enters a node's containers is decided on that node.",
          .arguments = {positional("NODE", nodes.get(), "a node's name (default: this one)"),
                        choice("-o,--output", {"table", "json"}, format.get(), "the form of the answer")},
          .examples = {{"rayctl net rules ray-wk-1", "read back from that node's nftables"}},
          .run = [nodes, format](const Globals& globals) {
            cluster::OperatorClient client = connect(globals);
            if (nodes->empty()) nodes->push_back("");
            nlohmann::json all = nlohmann::json::array();
            for (const std::string& node : *nodes) {
              Json reply = client.request("net.rules", {{"node", node}}, check_deadline);
              if (*format == "json")
                all.push_back(reply.raw());
              else
                print_rules(reply);
            }
            if (*format == "json") fmt::print("{}\n", all.dump(2));
            return 0;
          }};
}

// --- check ---

// Returns whether all is well.
bool print_checks(const Json& reply, std::vector<std::vector<std::string>>& rows) {
  bool well = true;
  std::string node = reply.at("node").string();
  for (const Json& check : reply.at("checks").items()) {
    std::string verdict = check.at("verdict").string(), reason = check.at("reason").string();
    if (std::string fix = check.string_or("fix", ""); !fix.empty()) reason += ". Fix: " + fix;
    well = well && verdict != "FAILURE";
    rows.push_back({node, check.at("name").string(), verdict, reason});
  }
  return well;
}

Command check_command() {
  auto nodes = std::make_shared<std::vector<std::string>>();
  auto format = std::make_shared<std::string>("table");
  return {
      .name = "check",
      .summary = "Diagnose the network: each check with its verdict, the reason and what to do",
      .description =
          "With two nodes only the way between them is probed, from both ends. Exits with 1 when a check "
          "fails.",
      .arguments = {positional("NODE", nodes.get(), "a node, or the two ends of a way (default: all nodes)"),
                    choice("-o,--output", {"table", "json"}, format.get(), "the form of the answer")},
      .examples = {{"rayctl net check", "every node, and every way between them"},
                   {"rayctl net check ray-ms-0 ray-wk-1", "the way between these"}},
      .run = [nodes, format](const Globals& globals) {
        if (nodes->size() > 2) throw UsageError("rayctl net check: at most two nodes");
        cluster::OperatorClient client = connect(globals);
        bool well = true;
        std::vector<std::vector<std::string>> rows;
        nlohmann::json all = nlohmann::json::array();
        for (const std::string& node : nodes_or_all(client, *nodes)) {
          nlohmann::json body{{"node", node}};
          if (nodes->size() == 2) body["peer"] = node == nodes->front() ? nodes->back() : nodes->front();
          try {
            Json reply = client.request("net.check", body, check_deadline);
            well = print_checks(reply, rows) && well;
            all.push_back(reply.raw());
          } catch (const Error& error) {  // one node that can't be asked is a finding, too
            well = false;
            rows.push_back({node, "control", "FAILURE", error.message()});
            all.push_back({{"node", node}, {"error", error.message()}});
          }
        }
        if (*format == "json")
          fmt::print("{}\n", all.dump(2));
        else
          fmt::print("{}", render_table({"NODE", "CHECK", "VERDICT", "REASON"}, rows));
        return well ? 0 : 1;
      }};
}

// --- rotate ---

Command rotate_command() {
  auto nodes = std::make_shared<std::vector<std::string>>();
  return {
      .name = "rotate",
      .summary = "Give nodes new keys of the encrypted overlay",
      .description =
          "Each node makes its key itself. It is used, and the old one forgotten, once the cluster knows it.",
      .arguments = {positional("NODE", nodes.get(), "a node's name (default: all)")},
      .examples = {{"rayctl net rotate", "every node, one after the other"}},
      .run = [nodes](const Globals& globals) {
        cluster::OperatorClient client = connect(globals);
        for (const std::string& node : nodes_or_all(client, *nodes)) {
          Json reply = client.request("net.rotate", {{"node", node}}, check_deadline);
          fmt::print("{} {}\n", printable(reply.at("node").string()), printable(reply.at("key").string()));
        }
        return 0;
      }};
}

}  // namespace

Command net_command() {
  Command command{.name = "net",
                  .group = Group::cluster,
                  .summary = "Look at the network between the nodes, and change its keys"};
  command.commands = {check_command(), rules_command(), rotate_command()};
  return command;
}

}  // namespace rayctl::cli
