#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "fleet/home.h"
#include "fleet/up.h"

namespace rayctl::cli {

namespace {

int machines(const std::string& name, const std::string& format) {
  std::vector<std::string> names =
      name.empty() ? fleet::known_clusters() : std::vector{fleet::choose_cluster(name)};
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& cluster : names) {
    fleet::Looked looked = fleet::look_at(cluster);
    if (!looked.trouble.empty()) warn("{}: as it was last seen: {}", cluster, looked.trouble);
    if (format == "json") {
      all.push_back(to_json(looked.look));
      continue;
    }
    if (names.size() > 1) fmt::print("{}\n", cluster_line(looked.look));
    fleet::sort_machines(looked.look.machines);
    for (const fleet::MachineView& machine : looked.look.machines) fmt::print("{}\n", machine_line(machine));
    fmt::print("{}\n", describe(looked.look.cost));
  }
  if (format == "json") fmt::print("{}\n", all.dump(2));
  return 0;
}

}  // namespace

Command machines_command() {
  auto name = std::make_shared<std::optional<std::string>>();
  auto format = std::make_shared<std::string>("text");
  return {.name = "machines",
          .group = Group::cluster,
          .summary = "List the machines that were booted from here, and what they cost",
          .arguments = {positional("NAMESPACE", name.get(), "of this cluster only"),
                        choice("-o,--output", {"text", "json"}, format.get(), "the form of the list")},
          .examples = {{"rayctl machines", "one line a machine; its number is what 'rayctl ssh' takes"}},
          .run = [name, format](const Globals&) { return machines(name->value_or(""), *format); }};
}

}  // namespace rayctl::cli
