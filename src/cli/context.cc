#include "cluster/context.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "cluster/claim.h"
#include "cluster/control_protocol.h"

namespace rayctl::cli {

namespace {

using cluster::Context;
using cluster::Contexts;

struct Options {
  std::string name, head, file = "", as = "", token_file = "", output = "table", user = "";
  std::optional<std::string> wait = {};
};

nlohmann::json described(const Context& context, bool current) {
  cluster::CertificateInfo info = context.identity();
  return {{"name", context.name},
          {"current", current},
          {"head", context.head},
          {"cluster", context.cluster},
          {"role", cluster::role_name(info.identity.role)},
          {"user", cluster::operator_name(info.identity.id).value_or("token " + info.identity.id)},
          {"expires", info.not_after.time_since_epoch().count()}};
}

std::string left(const nlohmann::json& context) {
  auto rest =
      std::chrono::seconds(context.at("expires").get<int64_t>()) - cluster::wall_now().time_since_epoch();
  if (rest > std::chrono::hours(48)) return fmt::format("in {} days", rest / std::chrono::hours(24));
  return rest.count() > 0 ? "in " + human_duration(rest) : "expired";
}

int list(const Options& options) {
  Contexts contexts;
  std::optional<std::string> current = contexts.current();
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& name : contexts.names()) {
    try {
      all.push_back(described(contexts.load(name), name == current));
    } catch (const Error& e) {  // a broken one must not hide the others
      warn("{}", e.message());
    }
  }
  if (options.output == "json") {
    fmt::print("{}\n", all.dump(2));
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& one : all)
    rows.push_back({one.at("current").get<bool>() ? "*" : "", one.at("name"), one.at("head"), one.at("role"),
                    one.at("user"), left(one)});
  fmt::print("{}", render_table({"", "NAME", "HEAD", "ROLE", "USER", "EXPIRES"}, rows));
  return 0;
}

int show(const Options& options) {
  Contexts contexts;
  std::optional<std::string> current = contexts.current();
  std::string name = options.name;
  if (name.empty() && !current)
    throw Error("cannot show the current context: none was chosen (rayctl context use NAME)");
  if (name.empty()) name = *current;
  fmt::print("{}\n", described(contexts.load(name), name == current).dump(2));
  return 0;
}

// The first one is what a user goes on with.
void keep(const Context& context) {
  Contexts contexts;
  if (contexts.has(context.name))
    throw Error("cannot make context '{}': there is one of that name (rayctl context rm {})", context.name,
                context.name);
  contexts.save(context);
  if (!contexts.current()) contexts.use(context.name);
  fmt::print("{}\n", context.name);
}

int add(const Options& options) {
  std::optional<cluster::Token> token = cluster::read_token(options.token_file);
  if (!token) throw UsageError("rayctl context add: name a token: --token-file FILE, or RAYCTL_TOKEN");
  keep(cluster::join_as_operator(
      options.name, cluster::parse_host_port(options.head, cluster::default_control_port), *token));
  return 0;
}

int claim(const Options& options) {
  catch_interrupts();
  cluster::Root root = cluster::Root::open(cluster::cluster_home(options.name));
  cluster::HostPort head = cluster::parse_host_port(options.head, cluster::default_control_port);
  std::string user = options.user.empty() ? cluster::user_name() : options.user;
  auto end = std::chrono::steady_clock::now() + parse_duration(options.wait.value_or("0s"));
  for (bool told = false;; told = true) {
    try {
      claim_head(head, root, root.claim_token(), {.operator_name = user});
      break;
    } catch (const cluster::Unreachable& e) {  // it may be booting
      if (std::chrono::steady_clock::now() >= end) throw;
      if (!told) info("{}: trying again", e.message());
      for (int i = 0; i < 10; ++i) {
        usleep(100'000);
        throw_if_interrupted();
      }
    }
  }
  root.forget_claim_token();
  keep(cluster::context_of_root(options.name, head, root, user));
  return 0;
}

int make_token(const Options& options) {
  cluster::Root root = cluster::Root::open_or_create(cluster::cluster_home(options.name));
  replace_file(options.file, cluster::format_token(root.claim_token()) + "\n", 0600);
  fmt::print("{}\n", options.file);
  return 0;
}

int export_one(const Options& options) {
  std::string text = cluster::export_context(Contexts().load(options.name));
  if (options.file == "-") {
    if (stdout_is_terminal()) throw UsageError("rayctl context export: it holds a key: name a file");
    fmt::print("{}", text);
    return 0;
  }
  replace_file(options.file, text, 0600);
  fmt::print("{}\n", options.file);
  return 0;
}

int import_one(const Options& options) {
  constexpr size_t limit = 256 << 10;
  std::string text = options.file == "-" ? read_fd(0, "stdin", limit) : read_file(options.file, limit);
  Context context = cluster::import_context(text, options.file == "-" ? "stdin" : options.file);
  if (!options.as.empty()) {
    cluster::check_context_name(options.as);
    context.name = options.as;
  }
  keep(context);
  return 0;
}

}  // namespace

Command context_command() {
  auto o = std::make_shared<Options>();
  auto bind = [o](int (*run)(const Options&)) { return [o, run](const Globals&) { return run(*o); }; };
  Argument name = required(positional("NAME", &o->name, "the context's name"));
  return {
      .name = "context",
      .group = Group::cluster,
      .summary = "Choose among the clusters that this user may use, and take them along",
      .description =
          "A context is a cluster's head, a certificate and its key, in ~/.config/rayctl/contexts. Commands "
          "take\n"
          "--context NAME, else RAYCTL_CONTEXT, else a supervisor on this machine, else the current context.",
      .commands = {
          {.name = "ls",
           .group = Group::cluster,
           .summary = "List the contexts; * marks the current one",
           .arguments = {choice("-o,--output", {"table", "json"}, &o->output, "how to print them")},
           .examples = {{"rayctl context ls", "where each leads, as whom, and until when"}},
           .run = bind(list)},
          {.name = "use",
           .group = Group::cluster,
           .summary = "Make a context the current one",
           .arguments = {name},
           .examples = {{"rayctl context use lab", "'rayctl ps' is now the lab's"}},
           .run =
               [o](const Globals&) {
                 Contexts().use(o->name);
                 fmt::print("{}\n", o->name);
                 return 0;
               }},
          {.name = "show",
           .group = Group::cluster,
           .summary = "Print a context as JSON, without its key",
           .arguments = {positional("NAME", &o->name, "instead of the current one")},
           .examples = {{"rayctl context show", "the current one"}},
           .run = bind(show)},
          {.name = "rm",
           .group = Group::cluster,
           .summary = "Forget a context; the cluster itself stays",
           .arguments = {name},
           .examples = {{"rayctl context rm lab", "its key is gone with it"}},
           .run =
               [o](const Globals&) {
                 Contexts().remove(o->name);
                 fmt::print("{}\n", o->name);
                 return 0;
               }},
          {.name = "export",
           .group = Group::cluster,
           .summary = "Write a context with its key into one file",
           .arguments = {name, required(option("--out", "FILE|-", &o->file, "where to, mode 0600"))},
           .examples = {{"rayctl context export lab --out lab.context", "to use it on another machine"}},
           .run = bind(export_one)},
          {.name = "import",
           .group = Group::cluster,
           .summary = "Take a context from a file of 'context export' or 'operators add'",
           .arguments = {required(positional("FILE", &o->file, "the file, or - for stdin")),
                         option("--name", "NAME", &o->as, "call it so instead")},
           .examples = {{"rayctl context import lab.context", "then delete the file: it holds a key"}},
           .run = bind(import_one)},
          {.name = "add",
           .group = Group::cluster,
           .summary = "Make a context with a token of role operator or admin",
           .arguments = {name, required(positional("HEAD", &o->head, "HOST[:PORT] of the head")),
                         option("--token-file", "FILE|-", &o->token_file,
                                "where the token is read from (or set RAYCTL_TOKEN)")},
           .examples = {{"rayctl context add lab 10.0.0.1 --token-file token",
                         "the token: 'rayctl token create --role operator' on the head; good for 7 days"}},
           .run = bind(add)},
          {.name = "claim",
           .group = Group::cluster,
           .summary = "Make the head of a machine that was started with --claim-token-file this user's",
           .description = "The cluster's root CA is this machine's (see 'context claim-token').",
           .arguments = {name, required(positional("HEAD", &o->head, "HOST[:PORT] of the head")),
                         option("--wait", "TIME", &o->wait, "try again while nothing answers, at most TIME"),
                         option("--user", "NAME", &o->user, "the first admin's name (default: this user's)")},
           .examples = {{"rayctl context claim lab 10.0.0.1 --wait 5m", "once the machine was started"}},
           .run = bind(claim)},
          {.name = "claim-token",
           .group = Group::cluster,
           .summary = "Make a cluster's root CA on this machine, and the token by which its head is claimed",
           .arguments = {name, required(option("--out", "FILE", &o->file, "the token's file, mode 0600"))},
           .examples = {{"rayctl context claim-token lab --out token",
                         "on the machine: rayctl node --role head --claim-token-file token …"}},
           .run = bind(make_token)},
      }};
}

}  // namespace rayctl::cli
