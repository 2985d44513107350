#include "cluster/control_backoff.h"

#include <algorithm>

namespace rayctl::cluster {

Backoff for_cluster(Backoff backoff, size_t nodes) {
  constexpr std::chrono::milliseconds least{3000}, each{3};  // what a greeting costs the head
  auto crowd = each * static_cast<int64_t>(nodes);
  backoff.most = std::min(backoff.most, std::max(least, crowd));
  return backoff;
}

std::chrono::milliseconds retry_delay(const Backoff& backoff, unsigned attempt, double random) {
  unsigned doublings = std::min(attempt > 0 ? attempt - 1 : 0, 20U);
  auto full = std::min(backoff.first * (int64_t{1} << doublings), backoff.most);
  return std::chrono::milliseconds(
      static_cast<int64_t>(static_cast<double>(full.count()) * (1 - random / 2)));
}

}  // namespace rayctl::cluster
