#include "fleet/cost.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace rayctl::fleet {

Cost cost_of(const std::vector<MachineRecord>& records, WallTime now) {
  Cost cost;
  for (const MachineRecord& record : records) {
    // Clouds count from the acceptance of the call on, as far as they count at all.
    bool runs = record.phase == Phase::booted || (record.phase == Phase::ending && !record.id.empty());
    WallTime start = record.launched != WallTime{} ? record.launched : record.asked;
    if (runs) ++cost.machines;
    if (!runs && record.phase != Phase::gone) continue;
    if (record.id.empty()) continue;  // never booted
    if (!record.price_hour) {
      if (runs) ++cost.unknown;
      continue;
    }
    if (runs) cost.per_hour += *record.price_hour;
    WallTime until = runs ? now : record.ended;
    double hours = std::max(0.0, static_cast<double>((until - start).count()) / 3600);
    cost.so_far += hours * *record.price_hour;
  }
  return cost;
}

std::string dollars(double amount) {
  if (amount < 0.0005) return "$0";
  // Prices have three or four digits that count; sums have cents.
  if (amount >= 10) return fmt::format("${:.2f}", amount);
  std::string text = fmt::format("${:.4f}", amount);
  size_t dot = text.find('.');
  while (text.size() > dot + 3 && text.back() == '0') text.pop_back();
  return text;
}

std::string price_per_hour(std::optional<double> price) {
  return price ? dollars(*price) + "/h" : "?/h";
}

std::string describe(const Cost& cost) {
  std::string text =
      fmt::format("{} {}, {}/h, {} so far", cost.machines, cost.machines == 1 ? "machine" : "machines",
                  dollars(cost.per_hour), dollars(cost.so_far));
  if (cost.unknown) text += fmt::format(" ({} of unknown price not counted)", cost.unknown);
  return text;
}

}  // namespace rayctl::fleet
