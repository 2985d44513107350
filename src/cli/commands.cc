#include "cli/commands.h"

namespace rayctl::cli {

// One a line: so they merge.
// clang-format off
std::vector<Command> all_commands() {
  return {
      build_command(),
      pull_command(),
      push_command(),
      images_command(),
      inspect_command(),
      tag_command(),
      rmi_command(),
      login_command(),
      logout_command(),
      token_command(),
      completion_command(),
      man_command(),
      version_command(),
  };
}
// clang-format on

}  // namespace rayctl::cli
