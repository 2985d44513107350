#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/connect.h"

namespace rayctl::cli {

namespace {

Command remove_command() {
  auto names = std::make_shared<std::vector<std::string>>();
  return {.name = "rm",
          .summary = "Remove nodes from the cluster for good: their certificates are refused",
          .arguments = {required(positional("NODE", names.get(), "a node's name"))},
          .examples = {{"rayctl nodes rm ray-wk-1",
                        "a machine that was given back; 'node reset' there lets it join anew"}},
          .run = [names](const Globals& globals) {
            cluster::OperatorClient client = connect(globals);
            for (const std::string& name : *names) {
              client.request("nodes.remove", {{"name", name}});
              fmt::print("{}\n", name);
            }
            return 0;
          }};
}

}  // namespace

Command nodes_command() {
  Command command{.name = "nodes",
                  .group = Group::cluster,
                  .summary = "Manage the cluster's nodes (as root on the head, or as admin)",
                  .description = "'rayctl status' lists them."};
  command.commands = {remove_command()};
  return command;
}

}  // namespace rayctl::cli
