#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "fleet/home.h"
#include "fleet/up.h"

namespace rayctl::cli {

namespace {

int containers(const std::string& name, const std::string& format) {
  std::vector<std::string> names =
      name.empty() ? fleet::known_clusters() : std::vector{fleet::choose_cluster(name)};
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& cluster : names) {
    fleet::Looked looked = fleet::look_at(cluster);
    if (!looked.trouble.empty()) warn("{}: as it was last seen: {}", cluster, looked.trouble);
    if (format == "json") {
      nlohmann::json look = to_json(looked.look);
      all.push_back({{"namespace", cluster}, {"containers", look["containers"]}});
      continue;
    }
    if (names.size() > 1) fmt::print("{}\n", cluster_line(looked.look));
    for (const fleet::ContainerView& container : looked.look.containers)
      fmt::print("{}\n", container_line(container));
  }
  if (format == "json") fmt::print("{}\n", all.dump(2));
  return 0;
}

}  // namespace

Command containers_command() {
  auto name = std::make_shared<std::optional<std::string>>();
  auto format = std::make_shared<std::string>("text");
  return {.name = "containers",
          .group = Group::cluster,
          .summary = "List the containers on the machines that were booted from here",
          .arguments = {positional("NAMESPACE", name.get(), "of this cluster only"),
                        choice("-o,--output", {"text", "json"}, format.get(), "the form of the list")},
          .examples = {{"rayctl containers", "one line a container, with its machine, labels and address"}},
          .run = [name, format](const Globals&) { return containers(name->value_or(""), *format); }};
}

}  // namespace rayctl::cli
