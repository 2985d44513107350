// `rayctl daemon`: keeps every cluster of this user as its deployment says, for as long as it runs, and goes
// on where it was after a restart. Other commands hand it their orders over a socket of its own.
#pragma once

#include <string>

#include "base/paths.h"
#include "fleet/keeper.h"

namespace rayctl::fleet {

// Runs until SIGINT or SIGTERM. Says what 2016's daemon said, on stdout.
int run_daemon(const Paths& paths);

// Whether one of this user answers.
bool daemon_runs(const Paths& paths);
// Returns once the daemon has taken the order over, and it is on the disk: its number (Keeper::order).
uint64_t send_order(const Paths& paths, const std::string& name, const Order& order);

}  // namespace rayctl::fleet
