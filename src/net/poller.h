// epoll with callbacks and timers, for the one-threaded servers of src/net.
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "base/fd.h"

namespace rayctl::net {

// Calls back on readiness and at times; callbacks may watch and forget freely, themselves too.
class Poller {
 public:
  using Clock = std::chrono::steady_clock;

  Poller();
  void watch(int fd, uint32_t events, std::function<void(uint32_t events)> call);
  void change(int fd, uint32_t events);
  void forget(int fd);  // before it is closed

  uint64_t at(Clock::time_point when, std::function<void()> call);
  void cancel(uint64_t timer);  // 0 and what has run already are fine

  void run_once();                  // waits for something to happen and does it
  void stop() { stopped_ = true; }  // nothing is called any more, also of what has happened already
  bool stopped() const { return stopped_; }

 private:
  struct Watch {
    uint32_t generation;
    std::shared_ptr<std::function<void(uint32_t)>> call;
  };
  using Timers = std::map<std::pair<Clock::time_point, uint64_t>, std::function<void()>>;
  Fd epoll_;
  bool stopped_ = false;
  uint32_t generation_ = 0;
  uint64_t next_timer_ = 1;
  std::map<int, Watch> watches_;
  Timers timers_;
  std::map<uint64_t, Clock::time_point> times_;
};

}  // namespace rayctl::net
