// When a failed request is tried again.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace rayctl {

struct RetryPolicy {
  int tries = 5;
  std::chrono::milliseconds first{2000};  // doubles from try to try
  std::chrono::milliseconds longest{60000};
};

bool is_transient_status(int status);  // 408, 429, 500, 502, 503, 504

// RFC 9110, 10.2.3: seconds or an HTTP date.
std::optional<std::chrono::milliseconds> parse_retry_after(std::string_view text,
                                                           std::chrono::system_clock::time_point now);

// How long to wait after try number `tried` (from 1); empty = give up. `random` in [0, 1) spreads the
// clients.
std::optional<std::chrono::milliseconds> retry_delay(const RetryPolicy& policy, int tried,
                                                     std::optional<std::chrono::milliseconds> retry_after,
                                                     double random);

// 2 s, or as RAYCTL_RETRY_MS says (tests).
RetryPolicy default_retry_policy();
double random_fraction();

}  // namespace rayctl
