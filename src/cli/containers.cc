#include <nlohmann/json.hpp>

#include "cli/clusters.h"
#include "cli/commands.h"

namespace rayctl::cli {

namespace {

nlohmann::json containers_of(const fleet::ClusterLook& look) {
  nlohmann::json json = to_json(look);
  return {{"namespace", json["namespace"]}, {"containers", json["containers"]}};
}

void print(const fleet::ClusterLook& look) {
  for (const fleet::ContainerView& container : look.containers) fmt::print("{}\n", container_line(container));
}

}  // namespace

Command containers_command() {
  return list_clusters(
      {.name = "containers",
       .group = Group::cluster,
       .summary = "List the containers on the machines that were booted from here",
       .examples = {{"rayctl containers", "one line a container, with its machine, labels and address"}}},
      {.json = containers_of, .print = print});
}

}  // namespace rayctl::cli
