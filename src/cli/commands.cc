#include "cli/commands.h"

namespace rayctl::cli {

std::vector<Command> all_commands() {
  return {
      build_command(), completion_command(), man_command(), token_command(), version_command(),
  };
}

}  // namespace rayctl::cli
