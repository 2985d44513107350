// When to try again.
#pragma once

#include <chrono>
#include <cstddef>

namespace rayctl::cluster {

struct Backoff {
  std::chrono::milliseconds first{250};
  std::chrono::milliseconds most{15000};
};

// As long as a crowd needs that comes back all at once, and no longer: a node of a small cluster that was cut
// off is back within seconds.
Backoff for_cluster(Backoff backoff, size_t nodes);

// The wait before attempt `attempt` (1 = the first repetition): doubles from `first` to `most`, less up to
// half of it by `random` in [0, 1), so that many nodes don't come back in the same instant.
std::chrono::milliseconds retry_delay(const Backoff& backoff, unsigned attempt, double random);

}  // namespace rayctl::cluster
