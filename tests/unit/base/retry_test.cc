#include "base/retry.h"

#include <catch2/catch.hpp>

using namespace rayctl;
using namespace std::chrono_literals;

TEST_CASE("delays double, spread and end") {
  RetryPolicy policy{.tries = 5, .first = 2s, .longest = 60s};
  CHECK(retry_delay(policy, 1, {}, 0) == 2s);
  CHECK(retry_delay(policy, 2, {}, 0) == 4s);
  CHECK(retry_delay(policy, 3, {}, 0.5) == 9s);
  CHECK(retry_delay(policy, 4, {}, 0) == 16s);
  CHECK_FALSE(retry_delay(policy, 5, {}, 0));
  policy.tries = 100;
  CHECK(retry_delay(policy, 50, {}, 0.9) == 60s);
}

TEST_CASE("the server's word counts, up to a minute") {
  RetryPolicy policy;
  CHECK(retry_delay(policy, 1, 7s, 0.9) == 7s);
  CHECK(retry_delay(policy, 1, 3600s, 0) == 60s);
  CHECK(retry_delay(policy, 1, 0s, 0) == 0s);
}

TEST_CASE("Retry-After is seconds or a date") {
  auto now = std::chrono::system_clock::from_time_t(784111777);  // Sun, 06 Nov 1994 08:49:37 GMT
  CHECK(parse_retry_after("120", now) == 120s);
  CHECK(parse_retry_after(" Sun, 06 Nov 1994 08:50:07 GMT", now) == 30s);
  CHECK(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now) == 0s);
  CHECK_FALSE(parse_retry_after("soon", now));
  CHECK_FALSE(parse_retry_after("", now));
  CHECK_FALSE(parse_retry_after("-5", now));
  CHECK(parse_retry_after("99999999999999999999", now) > 60s);
}

TEST_CASE("which statuses pass") {
  for (int status : {408, 429, 500, 502, 503, 504}) CHECK(is_transient_status(status));
  for (int status : {200, 400, 401, 403, 404, 416, 501}) CHECK_FALSE(is_transient_status(status));
}
