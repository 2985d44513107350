#include "wg/timers.h"

#include <catch2/catch.hpp>

using namespace rayctl::wg;
using namespace std::chrono_literals;

TEST_CASE("who received data and sends nothing says that it lives", "[wg]") {
  PeerTimers timers;
  CHECK_FALSE(timers.next());
  timers.data_received(100s);
  CHECK(timers.next() == Time(110s));
  CHECK_FALSE(timers.expire(109s).any());
  timers.data_received(105s);
  CHECK(timers.expire(110s).keepalive);
  CHECK(timers.expire(120s).keepalive);  // for what came in between
  CHECK_FALSE(timers.expire(130s).any());
  timers.data_received(200s);
  timers.authentic_sent(201s);
  CHECK_FALSE(timers.expire(300s).any());
}

TEST_CASE("who sent data and hears nothing begins a handshake", "[wg]") {
  PeerTimers timers;
  timers.data_sent(100s, 100ms);
  timers.data_sent(110s, 0ms);  // counts from the first
  CHECK(timers.next() == Time(115s + 100ms));
  CHECK(timers.expire(116s).initiate);
  timers.data_sent(200s, 0ms);
  timers.authentic_received(201s);
  CHECK_FALSE(timers.expire(300s).any());
}

TEST_CASE("initiations are repeated for ninety seconds, then given up", "[wg]") {
  PeerTimers timers;
  Time now = 0s;
  timers.begin_attempts();
  timers.initiation_sent(now, 200ms);
  int retries = 0;
  Due due;
  while (!due.give_up) {
    REQUIRE(timers.next());
    Time next = *timers.next();
    CHECK(next - now >= rekey_timeout);
    CHECK(next - now <= rekey_timeout + jitter_limit);
    now = next;
    due = timers.expire(now);
    if (due.retry) {
      ++retries;
      timers.initiation_sent(now, 200ms);
    }
  }
  CHECK(now >= 90s);
  CHECK(now <= 110s);
  CHECK(retries == 19);
  CHECK(timers.next() == now + reject_after_time * 3);  // keys that nobody will need are wiped all the same
  CHECK(timers.expire(now + 540s).forget_keys);
  CHECK_FALSE(timers.next());
}

TEST_CASE("an answer ends the repetition; keys are wiped after 540 s", "[wg]") {
  PeerTimers timers;
  timers.initiation_sent(0s, 0ms);
  timers.session_derived(1s);
  timers.handshake_completed();
  CHECK(timers.next() == Time(541s));
  timers.session_derived(121s);
  CHECK_FALSE(timers.expire(541s).any());
  CHECK(timers.expire(661s).forget_keys);
}

TEST_CASE("a persistent keepalive is sent whenever its interval was quiet", "[wg]") {
  PeerTimers timers;
  timers.set_persistent(25s, 3s);
  CHECK(timers.expire(3s).keepalive);
  CHECK(timers.next() == Time(28s));
  timers.authentic_received(20s);
  CHECK_FALSE(timers.expire(28s).any());
  CHECK(timers.expire(45s).keepalive);
  timers.set_persistent(25s, 50s);  // no change, no new beginning
  CHECK(timers.next() == Time(70s));
  timers.set_persistent(0s, 0s);
  CHECK_FALSE(timers.next());
}
