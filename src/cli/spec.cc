#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "stitch/draw.h"
#include "stitch/stitch.h"

namespace rayctl::cli {

namespace {

struct EvalOptions {
  std::string file = {}, output = "json";
};

std::string machine_kind(const stitch::Machine& machine) {
  std::string text = machine.size;
  auto range = [](const stitch::Range& range, const char* unit) {
    return range.max > 0 ? fmt::format("{}-{}{}", range.min, range.max, unit)
                         : fmt::format("{}+{}", range.min, unit);
  };
  if (text.empty() && machine.cpu != stitch::Range{}) text += range(machine.cpu, " cores ");
  if (machine.size.empty() && machine.ram != stitch::Range{}) text += range(machine.ram, " GiB");
  return std::string(trim(text));
}

void print_tables(const stitch::Deployment& deployment) {
  fmt::print("namespace {}\n\n", deployment.name_space);
  std::vector<std::vector<std::string>> machines, containers;
  for (const stitch::Machine& machine : deployment.machines)
    machines.push_back({fmt::format("{}", machine.id), machine.role, machine.provider, machine.region,
                        machine_kind(machine), fmt::format("{} GB", machine.disk_gb), machine.group});
  fmt::print("{}\n",
             render_table({"MACHINE", "ROLE", "PROVIDER", "REGION", "SIZE", "DISK", "GROUP"}, machines));
  for (const stitch::Container& container : deployment.containers)
    containers.push_back({fmt::format("{}", container.id), container.image,
                          fmt::format("{}", fmt::join(container.command, " ")),
                          fmt::format("{}", fmt::join(labels_of(deployment, container.id), ","))});
  fmt::print("{}", render_table({"CONTAINER", "IMAGE", "COMMAND", "LABELS"}, containers));
}

int run_eval(const EvalOptions& options) {
  stitch::Deployment deployment = stitch::load_deployment(options.file);
  if (options.output == "table")
    print_tables(deployment);
  else
    fmt::print("{}\n", stitch::to_json(deployment).dump(2));
  return 0;
}

Command eval_command() {
  auto options = std::make_shared<EvalOptions>();
  return {.name = "eval",
          .summary = "Print what a spec asks for",
          .description =
              "Evaluates a .spec and prints the deployment as JSON (docs/stitch.md has its schema). Such a "
              "JSON file is accepted wherever a .spec is.",
          .arguments = {required(positional("FILE", &options->file, "a .spec, or a JSON file of the same")),
                        choice("-o,--output", {"json", "table"}, &options->output, "how to print it")},
          .examples = {{"rayctl spec eval ray-runner.spec -o table", "machines and containers at a glance"}},
          .run = [options](const Globals&) { return run_eval(*options); }};
}

struct GraphOptions {
  std::string file = {}, format = {};
};

int run_graph(const GraphOptions& options) {
  stitch::Deployment deployment = stitch::load_deployment(options.file);
  std::string format = options.format;
  if (format.empty()) format = stdout_is_terminal() ? "terminal" : "text";
  if (format == "terminal") {
    const char* locale = nullptr;
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"})
      if (const char* value = std::getenv(name); !locale && value && *value) locale = value;
    bool utf8 = locale && (std::string_view(locale).find("UTF-8") != std::string_view::npos ||
                           std::string_view(locale).find("utf8") != std::string_view::npos);
    fmt::print("{}",
               stitch::draw_terminal(deployment, utf8 ? stitch::Charset::utf8 : stitch::Charset::ascii));
  } else if (format == "dot") {
    fmt::print("{}", stitch::draw_dot(deployment));
  } else if (format == "svg") {
    fmt::print("{}", stitch::draw_svg(deployment));
  } else {
    fmt::print("{}", stitch::draw_text(deployment));
  }
  return 0;
}

Command graph_command() {
  auto options = std::make_shared<GraphOptions>();
  return {.name = "graph",
          .summary = "Draw who may connect to whom",
          .description = "Labels and the connections between them, with their ports. No cloud is asked.",
          .arguments = {required(positional("FILE", &options->file, "a .spec, or a JSON file of the same")),
                        choice("--format", {"terminal", "text", "dot", "svg"}, &options->format,
                               "default: terminal on a terminal, else text")},
          .examples = {{"rayctl spec graph ray-runner.spec", "on the terminal"},
                       {"rayctl spec graph --format svg ray-runner.spec >ray.svg", "as a picture"}},
          .run = [options](const Globals&) { return run_graph(*options); }};
}

struct NewOptions {
  std::string directory = ".";
};

int run_new(const NewOptions& options) {
  constexpr std::string_view names[] = {"ray.spec", "ray-runner.spec"};
  for (std::string_view name : names)
    if (std::string path = join(options.directory, name); exists(path))
      throw Error("cannot write '{}': it is there already (choose another directory)", path);
  make_directories(options.directory);
  for (std::string_view name : names)
    for (const stitch::BuiltinSpec& spec : stitch::builtin_specs())
      if (spec.path == fmt::format("specs/{}", name)) {
        replace_file(join(options.directory, name), spec.text);
        fmt::print("{}\n", join(options.directory, name));
      }
  return 0;
}

Command new_command() {
  auto options = std::make_shared<NewOptions>();
  return {.name = "new",
          .summary = "Write ray.spec and ray-runner.spec to start from",
          .description =
              "ray-runner.spec is the one to fill in: its Namespace and a key for SSH. ray.spec defines what "
              "a head and workers are; the image is named in it.",
          .arguments = {positional("DIR", &options->directory, "default: here")},
          .examples = {{"rayctl spec new my-cluster", "two files in my-cluster/"}},
          .run = [options](const Globals&) { return run_new(*options); }};
}

}  // namespace

Command spec_command() {
  return {.name = "spec",
          .group = Group::cluster,
          .summary = "Work with specs: what a cluster is to be",
          .description =
              "A spec is a file in Stitch, the language of 2016's Quilt, or a JSON file of the same model.",
          .commands = {eval_command(), graph_command(), new_command()}};
}

}  // namespace rayctl::cli
