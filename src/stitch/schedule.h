// Which machine runs which container: a pure function of the deployment, the machines that are there, and
// what runs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "stitch/deployment.h"

namespace rayctl::stitch {

// A machine that containers can be put on.
struct Host {
  std::string name = {};  // unique; what an assignment names
  std::string role = {};  // master_role or worker_role
  std::string provider = {}, region = {}, size = {};
};

struct Schedule {
  std::map<uint32_t, std::string> assigned = {};  // container -> host
  std::map<uint32_t, std::string> unplaced = {};  // container -> why, for people
  bool operator==(const Schedule&) const = default;
};

// Does the container run Ray's head, as 2016's image contract has it: its command is `run head`?
bool runs_head(const Container& container);

// Containers stay where `current` has them while the rules allow it. The others go to the host with the
// fewest containers that the rules allow (the earlier one of equals): `run head` to a Master (or, when a rule
// keeps it off every Master or an "on" rule names it, to any host), all others to Workers. What finds no
// place that way is tried again with those not in `current` rearranged, up to a bound. Order of `hosts`
// doesn't matter: they are taken by name (shorter first).
Schedule schedule(const Deployment& deployment, const std::vector<Host>& hosts,
                  const std::map<uint32_t, std::string>& current);

}  // namespace rayctl::stitch
