#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"
#include "ray/report.h"

namespace rayctl::cli {

namespace {

int ps(const Globals& globals, const std::string& format, bool quiet) {
  Json reply = connect(globals).request("ps", nlohmann::json::object());
  if (format == "json" && !quiet) {
    fmt::print("{}\n", reply.at("containers").raw().dump(2));
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  cluster::WallTime now = cluster::wall_now();
  for (const Json& item : reply.at("containers").items()) {
    ray::ContainerReport c = ray::parse_container_report(item);
    if (quiet) {
      fmt::print("{}\n", c.id.substr(0, 12));
      continue;
    }
    rows.push_back({c.id.substr(0, 12), c.image, "\"" + c.command + "\"",
                    ray::describe_age((now - c.created).count()) + " ago", ray::describe_status(c, now), "",
                    item.at("node").string() + "/" + c.name, item.at("role").string(), c.address});
  }
  if (!quiet)
    fmt::print("{}", render_table({"CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES",
                                   "ROLE", "ADDRESS"},
                                  rows));
  return 0;
}

}  // namespace

Command ps_command() {
  auto format = std::make_shared<std::string>("table");
  auto quiet = std::make_shared<bool>(false);
  return {.name = "ps",
          .group = Group::node,
          .summary = "List the cluster's containers (on the head) or this node's (on a worker)",
          .arguments = {choice("-o,--output", {"table", "json"}, format.get(), "the form of the list"),
                        flag("-q,--quiet", *quiet, "only ids")},
          .examples = {{"rayctl ps", "every container, with its node, state and overlay address"}},
          .run = [format, quiet](const Globals& globals) { return ps(globals, *format, *quiet); }};
}

}  // namespace rayctl::cli
