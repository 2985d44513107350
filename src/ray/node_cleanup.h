// Ending a node's work, with or without a supervisor that runs.
#pragma once

#include "base/paths.h"

namespace rayctl::ray {

// Ends the supervisor (when one runs), then containers (TERM, grace, KILL), names, links, rules and
// namespaces.
void stop_node(const Paths& paths);

// The same without a word to systemd, for its own unit's ExecStop.
void drain_node(const Paths& paths);

enum class Confirm { ask, given };

// stop_node(), and removes state and run directory and rayctl's systemd units. Asks on the terminal first.
void reset_node(const Paths& paths, Confirm confirm);

}  // namespace rayctl::ray
