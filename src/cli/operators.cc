#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string name, file, head = "", output = "table";
  bool admin = false;
};

// The key is made here and goes into the file alone: the head sees a request.
int add(const Globals& globals, const Options& options) {
  std::optional<cluster::Context> through = chosen_context(globals);
  if (!through && options.head.empty())
    throw UsageError("rayctl operators add: say where {} reaches the head: --head HOST[:PORT]", options.name);
  cluster::Context context{.name = through ? through->name : "",
                           .head = options.head.empty() ? through->head : options.head,
                           .cluster = {},
                           .certificate = {},
                           .key = cluster::make_key(),
                           .root = {}};
  cluster::MemberRole role = options.admin ? cluster::MemberRole::admin : cluster::MemberRole::operator_;
  Json answer = connect(globals).request(
      "operator.add",
      {{"name", options.name}, {"role", cluster::role_name(role)}, {"csr", cluster::make_csr(context.key)}});
  context.certificate = cluster::parse_certificate(answer.at("certificate").string(), "from the head");
  context.root = cluster::parse_certificate(answer.at("root").string(), "from the head");
  context.cluster = answer.at("cluster").string();
  if (context.name.empty()) context.name = "cluster-" + context.cluster.substr(0, 6);
  replace_file(options.file, cluster::export_context(context), 0600);
  fmt::print("{}\n", options.file);
  return 0;
}

int list(const Globals& globals, const Options& options) {
  Json answer = connect(globals).request("operators", nlohmann::json::object());
  if (options.output == "json") {
    fmt::print("{}\n", answer.at("operators").raw().dump(2));
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Json& one : answer.at("operators").items()) {
    auto age = cluster::wall_now().time_since_epoch() - std::chrono::seconds(one.at("added").integer());
    rows.push_back({one.at("name").string(), one.at("role").string(), human_duration(age) + " ago"});
  }
  fmt::print("{}", render_table({"NAME", "ROLE", "ADDED"}, rows));
  return 0;
}

int remove(const Globals& globals, const Options& options) {
  Json answer = connect(globals).request("operator.remove", {{"name", options.name}});
  fmt::print("{}\n", printable(answer.at("name").string()));
  return 0;
}

}  // namespace

Command operators_command() {
  auto o = std::make_shared<Options>();
  auto bind = [o](int (*run)(const Globals&, const Options&)) {
    return [o, run](const Globals& globals) { return run(globals, *o); };
  };
  return {
      .name = "operators",
      .group = Group::cluster,
      .summary = "Let colleagues use the cluster, by name",
      .description = "Needs root on the head, or an admin's context.",
      .commands = {
          {.name = "add",
           .group = Group::cluster,
           .summary = "Make a context for a colleague",
           .description =
               "An operator may look, read logs, exec, copy, stop and restart; an admin may also make "
               "tokens, "
               "remove nodes\n"
               "and add operators. The certificate lasts 30 days and renews itself while it is used.",
           .arguments = {required(positional("NAME", &o->name, "the colleague: a-z, 0-9 and '-'")),
                         flag("--admin", o->admin, "an admin"),
                         required(option("--out", "FILE", &o->file, "the file for 'rayctl context import'")),
                         option("--head", "HOST[:PORT]", &o->head,
                                "where the colleague reaches the head (default: where this user does)")},
           .examples = {{"rayctl operators add alice --out alice.context",
                         "hand her the file; she types: rayctl context import alice.context"}},
           .run = bind(add)},
          {.name = "ls",
           .group = Group::cluster,
           .summary = "List the operators",
           .arguments = {choice("-o,--output", {"table", "json"}, &o->output, "how to print them")},
           .examples = {{"rayctl operators ls", "names, roles, ages"}},
           .run = bind(list)},
          {.name = "rm",
           .group = Group::cluster,
           .summary = "Cut an operator off: every certificate of that name is refused from now on",
           .arguments = {required(positional("NAME", &o->name, "the operator"))},
           .examples = {{"rayctl operators rm alice", "also what runs ends at once"}},
           .run = bind(remove)},
      }};
}

}  // namespace rayctl::cli
