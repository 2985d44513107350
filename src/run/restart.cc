#include "run/restart.h"

#include <algorithm>
#include <cmath>

namespace rayctl::run {

std::optional<RestartDecision> decide_restart(const RestartPolicy& policy, const RestartHistory& history,
                                              const ContainerExit& exit, double random) {
  if (policy.when == RestartPolicy::When::never || exit.stop_requested) return std::nullopt;
  if (policy.when == RestartPolicy::When::on_failure && exit.code == 0) return std::nullopt;
  RestartHistory next = history;
  bool healthy = exit.started && exit.finished - *exit.started >= policy.healthy_after;
  if (healthy) next.in_a_row = 0;
  if (policy.most && next.in_a_row >= *policy.most) return std::nullopt;
  double longest = static_cast<double>(policy.longest.count());
  double delay = static_cast<double>(policy.first.count()) *
                 std::pow(std::max(policy.factor, 1.0), static_cast<double>(next.in_a_row));
  delay = std::min(delay, longest);
  delay *= 0.8 + 0.2 * std::clamp(random, 0.0, 1.0);
  ++next.in_a_row;
  ++next.total;
  return RestartDecision{std::chrono::milliseconds(static_cast<int64_t>(delay)), next};
}

}  // namespace rayctl::run
