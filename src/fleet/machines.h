// A cluster's machines: looks at the clouds, writes down what is there, and carries plans out. Every call to
// a cloud comes after the journal says what it is for.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cloud/provider.h"
#include "fleet/clouds.h"
#include "fleet/ledger.h"
#include "fleet/plan.h"

namespace rayctl::fleet {

// What the cloud refused, with the machines that it was about.
struct BootFailure {
  uint32_t number;
  cloud::FailureKind kind;
  std::string text;
};
// Trying again without a change by the user is of no use.
bool is_final(cloud::FailureKind kind);

struct BootResult {
  size_t booted = 0;
  std::vector<BootFailure> failures;
};

class Machines {
 public:
  Machines(const Home& home, Ledger& ledger, Clouds& clouds)
      : home_(home), ledger_(ledger), clouds_(clouds) {}

  // Every region that has, had or will have machines.
  Regions regions(const Wishes& wishes = {}) const;
  // Also ends what runs twice.
  Reconciled look(const Regions& regions, const PlanTimes& times = {});

  // Firewalls and networks in these regions; remembered, to be swept.
  void prepare(const Regions& regions, const cloud::Firewall& firewall);

  // Journals new machines for these wishes (the head, or workers of `head`), and returns their numbers.
  std::vector<uint32_t> enlist(const std::vector<Wish>& wishes, uint32_t head);
  // Boots machines that are journaled: new ones, and those whose boot was interrupted. `document` gives the
  // user-data of one; it is kept until the cloud has accepted the machine, because a repeated request must be
  // the same to the letter.
  BootResult boot(const std::vector<uint32_t>& numbers,
                  const std::function<std::string(const MachineRecord&)>& document);
  void terminate(const std::vector<uint32_t>& numbers, const std::string& fate);
  // Ends those again whose end was interrupted.
  void terminate_ending();

  // What is left beside machines, after removing what can be; waits up to `patience` for each provider.
  std::vector<cloud::Leftover> sweep(std::chrono::seconds patience);

 private:
  void end(const std::vector<cloud::Machine>& machines);  // in their clouds
  void forget_documents();

  const Home home_;
  Ledger& ledger_;
  Clouds& clouds_;
};

}  // namespace rayctl::fleet
