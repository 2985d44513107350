// What machines cost an hour, and what they have cost since they were booted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "fleet/record.h"

namespace rayctl::fleet {

struct Cost {
  double per_hour = 0;    // of the machines that run now, dollars
  double so_far = 0;      // of all, those that are gone too; by the second
  unsigned machines = 0;  // that run now
  unsigned unknown = 0;   // of those without a price: both sums are too low
};
Cost cost_of(const std::vector<MachineRecord>& records, WallTime now);

std::string dollars(double amount);                       // "$0.117", "$12.40", "$0"
std::string price_per_hour(std::optional<double> price);  // "$0.117/h", "?/h"
std::string describe(
    const Cost& cost);  // "3 machines, $0.351/h, $1.20 so far"; "(2 of unknown price)" when so

}  // namespace rayctl::fleet
