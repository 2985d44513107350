#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cluster/cluster_state.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string role = "worker", ttl = "1h", file, output = "table", id;
  uint64_t uses = 1;
};

// A secret goes to eyes or into a file of root's: a pipe or the journal would keep it for everybody.
int create(const Options& options, const Globals& globals) {
  auto lifetime = parse_duration(options.ttl);
  if (options.file.empty() && !stdout_is_terminal() && chosen_context(globals))
    throw UsageError("rayctl token create: name a file for the secret: --file FILE");
  Json answer = connect(globals).request(
      "token.create", {{"role", options.role}, {"seconds", lifetime.count()}, {"uses", options.uses}});
  cluster::Token token = cluster::parse_token(answer.at("token").string());
  if (options.file.empty() && stdout_is_terminal()) {
    fmt::print("{}\n", cluster::format_token(token));
    info("token {}: role {}, {} use{}, for {}", token.id, options.role, options.uses,
         options.uses == 1 ? "" : "s", human_duration(lifetime));
    return 0;
  }
  std::string path = options.file;
  if (path.empty())
    path = cluster::write_token_file(globals.paths, token);
  else
    replace_file(path, cluster::format_token(token) + "\n", 0600);
  fmt::print("{}\n", path);
  return 0;
}

std::string left(cluster::WallTime until) {
  auto seconds = until - cluster::wall_now();
  return seconds.count() > 0 ? "in " + human_duration(seconds) : human_duration(-seconds) + " ago";
}

int list(const Options& options, const Globals& globals) {
  Json answer = connect(globals).request("token.list", nlohmann::json::object());
  if (options.output == "json") {
    fmt::print("{}\n", answer.at("tokens").raw().dump(2));
    return 0;
  }
  fmt::print("{:<10} {:<10} {:<9} {:<9} {}\n", "ID", "ROLE", "STATE", "USES", "EXPIRES");
  for (const Json& token : answer.at("tokens").items()) {
    cluster::WallTime expires{std::chrono::seconds(token.at("expires").integer())};
    fmt::print("{:<10} {:<10} {:<9} {:<9} {}\n", printable(token.at("id").string()),
               printable(token.at("role").string()), printable(token.at("state").string()),
               fmt::format("{}/{}", token.at("uses").size(), token.at("uses_allowed").size()), left(expires));
  }
  return 0;
}

int revoke(const Options& options, const Globals& globals) {
  Json answer = connect(globals).request("token.revoke", {{"id", options.id}});
  fmt::print("{}\n", printable(answer.at("id").string()));
  return 0;
}

}  // namespace

Command token_command() {
  auto options = std::make_shared<Options>();
  auto bind = [options](int (*run)(const Options&, const Globals&)) {
    return [options, run](const Globals& globals) { return run(*options, globals); };
  };
  return {
      .name = "token",
      .group = Group::cluster,
      .summary = "Make, list and revoke the tokens that let machines and people into the cluster",
      .commands = {
          {.name = "create",
           .group = Group::cluster,
           .summary = "Make a join token",
           .description = "Needs root on the head, or an admin's context. The token is printed on a "
                          "terminal; otherwise it is written to a "
                          "file that only root can read, and the file's path is printed.",
           .arguments =
               {choice("--role", {"worker", "operator", "admin"}, &options->role, "what the token admits"),
                option("--ttl", "TIME", &options->ttl, "how long it can be used, like 90s, 10m, 1h30m"),
                option("--uses", "N", &options->uses, "how many may join with it"),
                option("--file", "FILE", &options->file,
                       "write it there, mode 0600, instead of printing it")},
           .examples = {{"rayctl token create --role worker --ttl 1h --uses 8", "for eight more workers"}},
           .run = bind(create)},
          {.name = "list",
           .group = Group::cluster,
           .summary = "List the tokens, without their secrets",
           .arguments = {choice("-o,--output", {"table", "json"}, &options->output, "how to print them")},
           .examples = {{"rayctl token list", "which are valid, and how often they were used"}},
           .run = bind(list)},
          {.name = "revoke",
           .group = Group::cluster,
           .summary = "Make a token worthless",
           .description =
               "Nodes that joined with it stay; operators and admins that it admitted are cut off.",
           .arguments = {required(positional("ID", &options->id, "the token's id, or the beginning of it"))},
           .examples = {{"rayctl token revoke k3jq", "the token whose id begins so"}},
           .run = bind(revoke)},
      }};
}

}  // namespace rayctl::cli
