// Whether and when a container that ended is started again: pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "run/container_state.h"

namespace rayctl::run {

struct RestartPolicy {
  enum class When { never, on_failure, always };
  When when = When::always;
  std::chrono::milliseconds first{1000};
  std::chrono::milliseconds longest{60'000};
  double factor = 2.0;
  std::chrono::milliseconds healthy_after{60'000};  // a run this long starts the count anew
  std::optional<unsigned> most = {};                // give up after that many restarts in a row
};

// What is remembered between two runs.
struct RestartHistory {
  unsigned in_a_row = 0;  // restarts since the last healthy run
  unsigned total = 0;
};

struct RestartDecision {
  std::chrono::milliseconds delay;
  RestartHistory history;  // to remember
};

// Empty: it stays down. `random` in [0, 1) spreads the delay over its last fifth, so that the nodes of a
// cluster don't start in step.
std::optional<RestartDecision> decide_restart(const RestartPolicy& policy, const RestartHistory& history,
                                              const ContainerExit& exit, double random);

}  // namespace rayctl::run
