#include "base/error.h"
#include "cli/commands.h"

namespace rayctl::cli {

Command completion_command() {
  auto shell = std::make_shared<std::string>();
  Argument which =
      required(choice("SHELL", {"bash", "zsh", "fish"}, shell.get(), "the shell to complete in"));
  which.kind = Argument::Kind::positional;
  return {.name = "completion",
          .group = Group::other,
          .summary = "Print a shell completion script",
          .arguments = {which},
          .examples = {{"rayctl completion bash > /etc/bash_completion.d/rayctl", "for every user's bash"},
                       {"rayctl completion fish > ~/.config/fish/completions/rayctl.fish", "for your fish"}},
          .run = [shell](const Globals&) {
            fmt::print("{}", completion_script(*shell, all_commands()));
            return 0;
          }};
}

}  // namespace rayctl::cli
