#include "cli/commands.h"
#include "cli/up_options.h"

namespace rayctl::cli {

Command run_command() {
  auto o = std::make_shared<UpOptions>();
  std::vector<Argument> arguments = {
      required(positional("SPEC", &o->file, "a .spec, or a deployment as JSON")),
      option("--namespace", "NAME", &o->name_space, "the cluster's name (default: the spec's)"),
      option("--image", "NAME", &o->image, "the image that Ray runs in, for a spec without containers"),
      option("--ssh-key", "KEY|FILE", &o->ssh_keys, "a public key that may log in besides; may be repeated")};
  for (Argument& argument : setting_arguments(*o)) arguments.push_back(std::move(argument));
  return {.name = "run",
          .group = Group::cluster,
          .summary = "Hand a spec to the daemon, which makes it so and keeps it so",
          .description =
              "Returns at once and asks nothing: the daemon's terminal, 'rayctl machines' and 'rayctl\n"
              "containers' show what comes of it. 'rayctl up --dry-run' shows beforehand what it would do.",
          .arguments = std::move(arguments),
          .examples = {{"rayctl run ray-runner.spec", "with 'rayctl daemon' in another terminal"}},
          .run = [o](const Globals& globals) { return fleet::run(globals.paths, up_wish(*o)); }};
}

}  // namespace rayctl::cli
