#include "cli/clusters.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "fleet/home.h"

namespace rayctl::cli {

namespace {

int list(const std::string& name, const std::string& format, const ClusterForm& form) {
  std::vector<std::string> names =
      name.empty() ? fleet::known_clusters() : std::vector{fleet::choose_cluster(name)};
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& cluster : names) {
    fleet::Looked looked = fleet::look_at(cluster);
    if (!looked.trouble.empty()) warn("{}: as it was last seen: {}", cluster, looked.trouble);
    if (format == "json") {
      all.push_back(form.json(looked.look));
      continue;
    }
    if (names.size() > 1) fmt::print("{}\n", cluster_line(looked.look));
    form.print(looked.look);
  }
  if (format == "json") fmt::print("{}\n", all.dump(2));
  return 0;
}

}  // namespace

Command list_clusters(Command listing, ClusterForm form) {
  auto name = std::make_shared<std::optional<std::string>>();
  auto format = std::make_shared<std::string>("text");
  listing.arguments = {positional("NAMESPACE", name.get(), "of this cluster only"),
                       choice("-o,--output", {"text", "json"}, format.get(), "the form of the list")};
  listing.run = [name, format, form = std::move(form)](const Globals&) {
    return list(name->value_or(""), *format, form);
  };
  return listing;
}

}  // namespace rayctl::cli
