// A plan as people read it before they say yes, and as scripts do.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "fleet/cost.h"
#include "fleet/plan.h"

namespace rayctl::fleet {

// What stands beside the machines in a plan.
struct PlanSetting {
  std::string name, value;  // "image", "ray:latest"; "firewall", "open to 203.0.113.7/32"
};

struct PlanPaper {
  std::string name;  // namespace
  Plan plan;
  std::vector<MachineRecord> records;
  std::vector<PlanSetting> settings;  // as they are, defaults too
  bool replaces_containers = false;   // on machines that stay
};

// Machines that don't differ share a line. Ends with the price an hour, now and afterwards.
std::string plan_text(const PlanPaper& paper);
nlohmann::json plan_json(const PlanPaper& paper);

// Dollars an hour once the plan is carried out; unknown prices are counted apart.
Cost cost_after(const PlanPaper& paper);

}  // namespace rayctl::fleet
