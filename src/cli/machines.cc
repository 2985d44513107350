#include <nlohmann/json.hpp>

#include "cli/clusters.h"
#include "cli/commands.h"

namespace rayctl::cli {

namespace {

void print(fleet::ClusterLook& look) {
  fleet::sort_machines(look.machines);
  for (const fleet::MachineView& machine : look.machines) fmt::print("{}\n", machine_line(machine));
  fmt::print("{}\n", describe(look.cost));
}

}  // namespace

Command machines_command() {
  return list_clusters(
      {.name = "machines",
       .group = Group::cluster,
       .summary = "List the machines that were booted from here, and what they cost",
       .examples = {{"rayctl machines", "one line a machine; its number is what 'rayctl ssh' takes"}}},
      {.json = [](const fleet::ClusterLook& look) { return to_json(look); }, .print = print});
}

}  // namespace rayctl::cli
