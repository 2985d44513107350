#include "base/text.h"
#include "cli/commands.h"
#include "fleet/up.h"

namespace rayctl::cli {

Command down_command() {
  struct Down {
    std::optional<std::string> name, wait;
    bool yes = false;
    std::string format = "text";
  };
  auto d = std::make_shared<Down>();
  return {
      .name = "down",
      .group = Group::cluster,
      .summary = "End a cluster: its machines and all that they left in the cloud",
      .description =
          "Ends what this computer booted, and nothing else; then looks whether anything of it is left, and\n"
          "says what it cost.",
      .arguments = {positional("NAMESPACE", &d->name, "which one; may be left out when there is only one"),
                    flag("-y,--yes", d->yes, "don't ask"),
                    option("--wait", "TIME", &d->wait, "how long to wait for the clouds (default 20m)"),
                    choice("-o,--output", {"text", "json"}, &d->format, "the form of the result")},
      .examples = {{"rayctl down ray-1", "asks, ends it, and proves that nothing is left"}},
      .run = [d](const Globals& globals) {
        fleet::DownWish wish;
        wish.name = d->name.value_or("");
        wish.answer = d->yes ? fleet::Answer::yes : fleet::Answer::ask;
        wish.form = d->format == "json" ? fleet::Form::json : fleet::Form::text;
        if (d->wait) wish.wait = parse_duration(*d->wait);
        return fleet::down(globals.paths, wish);
      }};
}

}  // namespace rayctl::cli
