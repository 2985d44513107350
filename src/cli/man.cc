#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"

namespace rayctl::cli {

Command man_command() {
  auto directory = std::make_shared<std::string>();
  return {
      .name = "man",
      .group = Group::other,
      .summary = "Write the man pages",
      .description =
          "Writes rayctl.1 and one rayctl-COMMAND.1 for each command into DIR, which is made when missing.",
      .arguments = {required(positional("DIR", directory.get(), "the directory to write to"))},
      .examples = {{"rayctl man /usr/local/share/man/man1", "what 'make install' does"}},
      .run = [directory](const Globals&) {
        make_directories(*directory);
        std::vector<Command> commands = all_commands();
        replace_file(join(*directory, "rayctl.1"), man_page(commands));
        for (const Command& c : commands)
          replace_file(join(*directory, "rayctl-" + c.name + ".1"), man_page("rayctl " + c.name, c));
        return 0;
      }};
}

}  // namespace rayctl::cli
