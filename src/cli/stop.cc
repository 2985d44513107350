#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/connect.h"

namespace rayctl::cli {

namespace {

// `stop` and `restart` differ in the request's name alone.
Command container_verb(const char* name, std::string summary, std::vector<Example> examples) {
  auto containers = std::make_shared<std::vector<std::string>>();
  return {.name = name,
          .group = Group::node,
          .summary = std::move(summary),
          .arguments = {required(
              positional("CONTAINER", containers.get(), "id or its beginning, node name, or 'head'"))},
          .examples = std::move(examples),
          .run = [containers, request = std::string(name)](const Globals& globals) {
            cluster::OperatorClient client = connect(globals);
            for (const std::string& container : *containers) {
              // Ray drains before it ends: the supervisor's grace bounds the wait.
              Json reply = client.request(request, {{"target", container}}, std::chrono::minutes(10));
              fmt::print("{}\n", reply.at("id").string().substr(0, 12));
            }
            return 0;
          }};
}

}  // namespace

Command stop_command() {
  return container_verb("stop", "Stop containers until they are restarted",
                        {{"rayctl stop ray-wk-1", "TERM, the grace for Ray to drain, then KILL"}});
}

Command restart_command() {
  return container_verb("restart", "Stop containers and start them anew, also those that are stopped",
                        {{"rayctl restart head", "a new head: Ray's state is lost, workers join again"}});
}

}  // namespace rayctl::cli
