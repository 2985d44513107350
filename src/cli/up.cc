#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/up_options.h"

namespace rayctl::cli {

namespace {

struct Up {
  UpOptions options;
  bool yes = false, dry_run = false;
  std::string format = "text";
  std::optional<std::string> wait;
};

// The line that goes on with the same cluster: this one.
std::string own_line() {
  std::string line = "rayctl";
  std::vector<std::string> words = split(read_file("/proc/self/cmdline"), '\0');
  for (size_t i = 1; i < words.size(); ++i) {
    if (words[i].empty()) continue;
    bool plain =
        words[i].find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@+~") == std::string::npos;
    line += plain ? " " + words[i] : " '" + words[i] + "'";
  }
  return line;
}

}  // namespace

Command up_command() {
  auto u = std::make_shared<Up>();
  std::vector<Argument> arguments = deployment_arguments(u->options);
  for (Argument& argument : setting_arguments(u->options)) arguments.push_back(std::move(argument));
  arguments.push_back(flag("-y,--yes", u->yes, "don't ask"));
  arguments.push_back(flag("--dry-run", u->dry_run, "show the plan and its price, and change nothing"));
  arguments.push_back(option("--wait", "TIME", &u->wait,
                             "how long to wait until Ray is healthy (default 1h; 0: not at all)"));
  arguments.push_back(
      choice("-o,--output", {"text", "json"}, &u->format, "the form of the plan or the result"));
  return {
      .name = "up",
      .group = Group::cluster,
      .summary = "Boot the machines of a spec and wait until Ray is healthy on them",
      .description =
          "Shows what would be booted and terminated, and its price, and asks. Again with a changed spec it\n"
          "carries out the difference; the head stays when only workers change. Interrupted, it stops "
          "waiting,\n"
          "never machines: the same line goes on. Where a daemon runs, the daemon does the work.",
      .arguments = std::move(arguments),
      .examples = {{"rayctl up ray-runner.spec", "the cluster that the spec describes"},
                   {"rayctl up --provider Local --workers 2 --image ray:latest",
                    "three VMs on this computer"},
                   {"rayctl up ray-runner.spec --dry-run", "what it would do, and what that costs an hour"}},
      .run = [u](const Globals& globals) {
        fleet::UpWish wish = up_wish(u->options);
        wish.again = own_line();
        wish.answer = u->yes ? fleet::Answer::yes : fleet::Answer::ask;
        wish.dry_run = u->dry_run;
        wish.form = u->format == "json" ? fleet::Form::json : fleet::Form::text;
        if (u->wait) wish.wait = parse_duration(*u->wait);
        return fleet::up(globals.paths, wish);
      }};
}

}  // namespace rayctl::cli
