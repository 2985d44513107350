#include "base/version.h"

#include "base/error.h"
#include "cli/commands.h"

namespace rayctl::cli {

Command version_command() {
  return {.name = "version",
          .group = Group::other,
          .summary = "Print the versions of rayctl and of every linked library",
          .examples = {{"rayctl version", "what to put into a report"}},
          .run = [](const Globals&) {
            fmt::print("rayctl {}\n", version());
            for (const Library& library : linked_libraries())
              fmt::print("  {:<14} {}\n", library.name, library.version);
            return 0;
          }};
}

}  // namespace rayctl::cli
