// When to try again.
#pragma once

#include <chrono>

namespace rayctl::cluster {

struct Backoff {
  std::chrono::milliseconds first{250};
  std::chrono::milliseconds most{15000};
};

// The wait before attempt `attempt` (1 = the first repetition): doubles from `first` to `most`, less up to
// half of it by `random` in [0, 1), so that many nodes don't come back in the same instant.
std::chrono::milliseconds retry_delay(const Backoff& backoff, unsigned attempt, double random);

}  // namespace rayctl::cluster
