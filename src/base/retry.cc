#include "base/retry.h"

#include <curl/curl.h>
#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/text.h"

namespace rayctl {

using std::chrono::milliseconds;

bool is_transient_status(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

std::optional<milliseconds> parse_retry_after(std::string_view text,
                                              std::chrono::system_clock::time_point now) {
  std::string value(trim(text));
  if (value.empty()) return std::nullopt;
  if (value.find_first_not_of("0123456789") == std::string::npos)
    return value.size() > 9 ? milliseconds(1'000'000'000'000) : milliseconds(std::stoll(value) * 1000);
  time_t date = curl_getdate(value.c_str(), nullptr);
  if (date < 0) return std::nullopt;
  auto wait = std::chrono::system_clock::from_time_t(date) - now;
  return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(wait));
}

std::optional<milliseconds> retry_delay(const RetryPolicy& policy, int tried,
                                        std::optional<milliseconds> retry_after, double random) {
  if (tried >= policy.tries) return std::nullopt;
  if (retry_after) return std::min(*retry_after, policy.longest);
  milliseconds delay = policy.first * (1 << std::min(tried - 1, 16));
  delay += milliseconds(static_cast<int64_t>(random * static_cast<double>(policy.first.count())));
  return std::min(delay, policy.longest);
}

RetryPolicy default_retry_policy() {
  RetryPolicy policy;
  if (const char* text = std::getenv("RAYCTL_RETRY_MS"))
    policy.first = milliseconds(std::clamp(std::strtol(text, nullptr, 10), 0L, 60000L));
  return policy;
}

double random_fraction() {
  uint32_t value = 0;
  if (getrandom(&value, sizeof value, 0) != sizeof value) return 0.5;
  return static_cast<double>(value) / 4294967296.0;
}

}  // namespace rayctl
