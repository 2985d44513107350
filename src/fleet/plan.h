// The difference between the machines that a deployment asks for and those that there are: data in, data out.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cloud/provider.h"
#include "fleet/record.h"
#include "fleet/wish.h"

namespace rayctl::fleet {

// How long after its boot call a machine may be missing from its cloud's list before it counts as lost: lists
// lag behind, and a machine that one answer showed may be missing from the next.
struct PlanTimes {
  std::chrono::seconds appear{180};  // when no list showed it yet
  std::chrono::seconds settle{20};   // when one did
};

// What one look at the clouds says. Only regions in `seen_regions` were looked at: a machine elsewhere isn't
// lost because it isn't in `machines`.
struct Sighting {
  std::vector<cloud::Machine> machines;
  std::set<std::pair<std::string, std::string>> seen_regions;  // (provider, region)
  std::set<std::string> prompt;                                // providers whose lists don't lag
  WallTime when{};
};

// Writes what was seen into the records: ids, addresses, sizes, ends. `changed`: numbers of changed records.
// A machine of this uid without a record gets one again (adopted). Machines of the cluster's name with
// another key are foreign: another rayctl's, never touched.
struct Reconciled {
  std::set<uint32_t> changed;
  std::vector<uint32_t> lost;     // were booted, aren't there any more
  std::vector<uint32_t> adopted;  // had no record
  std::vector<cloud::Machine> foreign;
  std::vector<cloud::Machine> doubles;  // run beside another under one key: a call was answered twice
};
Reconciled reconcile(std::vector<MachineRecord>& records, const Sighting& sighting, std::string_view uid,
                     const PlanTimes& times = {});

// What to do.
struct Plan {
  std::vector<Wish> boot;        // new machines
  std::vector<uint32_t> resume;  // journaled, but nobody knows whether the cloud got the request: ask again
  std::vector<uint32_t> keep;    // as they are
  std::vector<uint32_t> terminate;  // surplus
  std::vector<uint32_t> drop;       // surplus that the cloud had refused: there is nothing to terminate
  std::vector<std::string> remarks;
  bool head_changes = false;  // the head that there is goes, and with it every worker

  bool empty() const { return boot.empty() && resume.empty() && terminate.empty() && drop.empty(); }
};

// Joins wishes with records that are alive. The head is matched first; a worker counts only for the head that
// it was booted for. Among machines that fit, those that work (`healthy`), then those that were booted, then
// those with the lowest number are kept. With `wishes.blocked` nothing is booted and nothing terminated.
Plan make_plan(const Wishes& wishes, const std::vector<MachineRecord>& records,
               const std::set<uint32_t>& healthy = {});

// Whether the machine is what the wish asks for.
bool matches(const Wish& wish, const MachineRecord& record);

// Why a machine isn't kept, for people: "size m4.large, not m4.xlarge"; empty when the wish fits.
std::string difference(const Wish& wish, const MachineRecord& record);

}  // namespace rayctl::fleet
