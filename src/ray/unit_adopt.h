// Containers that are there already: after the supervisor's own end, after a reboot, or left behind.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/paths.h"
#include "ray/unit_record.h"
#include "run/lifecycle.h"

namespace rayctl::ray {

// What was found in the state directory at the start.
struct Found {
  std::optional<UnitRecord> record = {};
  bool running = false;
};

// Adopts the unit's container if it was made for `key` (unit_key()); ends, with `grace`, and removes the
// unit's others. Blocks.
Found adopt_or_clear(const Paths& paths, const std::string& unit, const std::string& key,
                     std::chrono::milliseconds grace);
// Ends and removes the containers of all units that aren't listed, and what is left of half-made ones; to be
// called while none is being made. Returns their ids. Blocks.
std::vector<std::string> clear_others(const Paths& paths, const std::set<std::string>& units,
                                      std::chrono::milliseconds grace);

// With its network namespace and its hold on the image.
void remove_unit(const Paths& paths, run::ContainerDir& container);

// Ends every container in the state directory, all at once, and removes what is left of them. Blocks.
void remove_all_containers(const Paths& paths, std::chrono::milliseconds grace);

// The lines of a failed Ray's log that say something: not its state dumps, traces and progress; the last 12.
std::string telling_lines(const std::string& log);

}  // namespace rayctl::ray
