// Containers that are there already: after the supervisor's own end, after a reboot, or left behind.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/paths.h"
#include "ray/unit_record.h"
#include "run/lifecycle.h"

namespace rayctl::ray {

// What was found in the state directory at the start.
struct Found {
  std::optional<UnitRecord> record = {};
  bool running = false;
};

// Adopts the container that was made for `key` (unit_key()); ends, with `grace`, and removes all others.
// Blocks.
Found adopt_or_clear(const Paths& paths, const std::string& key, std::chrono::milliseconds grace);

// With its network namespace and its hold on the image.
void remove_unit(const Paths& paths, run::ContainerDir& container);

// Ends every container in the state directory, all at once, and removes what is left of them. Blocks.
void remove_all_containers(const Paths& paths, std::chrono::milliseconds grace);

// The lines of a failed Ray's log that say something: not its state dumps, traces and progress; the last 12.
std::string telling_lines(const std::string& log);

}  // namespace rayctl::ray
