#include "fleet/daemon.h"

#include "cli/commands.h"

namespace rayctl::cli {

Command daemon_command() {
  return {
      .name = "daemon",
      .group = Group::cluster,
      .summary =
          "Keep clusters as their specs say: replace lost machines, carry out what 'rayctl run' hands over",
      .description =
          "Runs in the foreground until SIGINT or SIGTERM, and tells what it does. It goes on where the last "
          "one\n"
          "stopped; its end stops no machine. 'up' and 'down' let it do the work while it runs.",
      .examples = {{"rayctl daemon", "in a terminal of its own; then: rayctl run ray-runner.spec"}},
      .run = [](const Globals& globals) { return fleet::run_daemon(globals.paths); }};
}

}  // namespace rayctl::cli
