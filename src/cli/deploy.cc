#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"
#include "stitch/stitch.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string file = {}, output = "table";
  bool clear = false;
};

void print_placed(const Json& answer) {
  std::vector<std::vector<std::string>> rows;
  for (const Json& c : answer.at("containers").items())
    rows.push_back({c.at("name").string(), c.at("image").string(),
                    fmt::format("{}", fmt::join(c.strings_or_empty("command"), " ")), c.at("node").string()});
  for (const Json& c : answer.at("waiting").items())
    rows.push_back({c.at("name").string(), "", "", "waits: " + c.at("why").string()});
  fmt::print("{}", render_table({"CONTAINER", "IMAGE", "COMMAND", "NODE"}, rows));
}

int run(const Globals& globals, const Options& options) {
  cluster::OperatorClient cluster = connect(globals);
  nlohmann::json body;
  if (options.clear) {
    if (!options.file.empty()) throw UsageError("--clear takes no file");
    body["deployment"] = nullptr;
  } else if (!options.file.empty()) {
    body["deployment"] = stitch::to_json(stitch::load_deployment(options.file));
  }
  Json answer = cluster.request(body.is_null() ? "deployment.get" : "deployment.set",
                                body.is_null() ? nlohmann::json::object() : body);
  if (options.output == "json")
    fmt::print("{}\n", answer.raw().dump(2));
  else if (!answer.has("deployment"))
    fmt::print("no deployment: each node runs its own Ray\n");
  else
    print_placed(answer);
  return 0;
}

}  // namespace

Command deploy_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "deploy",
      .group = Group::cluster,
      .summary = "Run the containers of a spec on the nodes that there are",
      .description =
          "Places every container of the spec on a node: `run head` on the head's machine, all others on "
          "workers, the idlest first, within the spec's rules. Those whose image, command or environment "
          "changed are replaced, the rest go on. Machines of the spec are rayctl up's business. Without a "
          "file: shows what runs where.",
      .arguments = {positional("FILE", &options->file, "a .spec, or a JSON file of the same"),
                    flag("--clear", options->clear, "end the deployment: every node runs its own Ray again"),
                    choice("-o,--output", {"table", "json"}, &options->output, "the form of the answer")},
      .examples = {{"rayctl deploy ray-runner.spec", "place it"}, {"rayctl deploy", "where everything is"}},
      .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
