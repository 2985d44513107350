#include "cloud/api.h"

#include <atomic>
#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::cloud;
using namespace std::chrono_literals;

TEST_CASE("a rate limit lets a burst through and spreads the rest") {
  RateLimit limit(3, 2);
  auto now = RateLimit::Clock::time_point(100s);
  for (int i = 0; i < 3; ++i) CHECK(limit.take(now) == 0ms);
  CHECK(limit.take(now) == 501ms);
  CHECK(limit.take(now) == 1001ms);
  CHECK(limit.take(now + 10s) == 0ms);  // full again, and no fuller than that
  CHECK(limit.take(now + 10s) == 0ms);
  CHECK(limit.take(now + 10s) == 0ms);
  CHECK(limit.take(now + 10s) > 0ms);
  RateLimit refused(3, 2);
  refused.empty(now);
  CHECK(refused.take(now) == 501ms);
}

TEST_CASE("delays double up to a limit, are spread, and obey Retry-After") {
  RetryPolicy policy{.tries = 8, .first = 1000ms, .longest = 30000ms};
  CHECK(delay_before(policy, 1, {}, 0) == 500ms);
  CHECK(delay_before(policy, 1, {}, 1) == 1000ms);
  CHECK(delay_before(policy, 4, {}, 0.5) == 6000ms);
  CHECK(delay_before(policy, 60, {}, 1) == 30000ms);
  CHECK(delay_before(policy, 1, 7000ms, 0) == 7000ms);
  CHECK(delay_before(policy, 1, 1h, 0) == 120s);
}

TEST_CASE("work in parallel is all done, and its first error is thrown") {
  std::atomic<int> sum{0};
  in_parallel(4, 100, [&](size_t i) { sum += static_cast<int>(i); });
  CHECK(sum == 4950);
  CHECK_THROWS_WITH(in_parallel(4, 100,
                                [&](size_t i) {
                                  if (i == 7) throw Error("seven");
                                }),
                    "seven");
  in_parallel(4, 0, [&](size_t) { FAIL("nothing to do"); });
}

TEST_CASE("times of clouds are read") {
  auto at = [](const char* text) {
    auto time = parse_time(text);
    return time ? std::chrono::system_clock::to_time_t(*time) : time_t{-1};
  };
  CHECK(at("2015-08-30T12:36:00Z") == 1440938160);
  CHECK(at("2015-08-30T12:36:00.000Z") == 1440938160);
  CHECK(at("2015-08-30T05:36:00.123-07:00") == 1440938160);
  for (const char* bad :
       {"", "2015-08-30", "2015-08-30T12:36:00", "2015-08-30T12:36:00+1", "9999-08-30T12:36:00Z", "x"})
    CHECK(at(bad) == -1);
}
