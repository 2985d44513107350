#include "net/poller.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace rayctl::net {

namespace {

// The generation tells an event of a descriptor from one of its successor with the same number.
uint64_t key_of(int fd, uint32_t generation) {
  return uint64_t{generation} << 32 | static_cast<uint32_t>(fd);
}

}  // namespace

Poller::Poller() : epoll_(check(epoll_create1(EPOLL_CLOEXEC), "cannot make an epoll descriptor")) {}

void Poller::watch(int fd, uint32_t events, std::function<void(uint32_t)> call) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key_of(fd, ++generation_);
  check(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "cannot watch descriptor {}", fd);
  watches_[fd] = {generation_, std::make_shared<std::function<void(uint32_t)>>(std::move(call))};
}

void Poller::change(int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key_of(fd, watches_.at(fd).generation);
  check(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event), "cannot watch descriptor {}", fd);
}

void Poller::forget(int fd) {
  if (watches_.erase(fd)) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

uint64_t Poller::at(Clock::time_point when, std::function<void()> call) {
  uint64_t timer = next_timer_++;
  timers_.emplace(std::pair(when, timer), std::move(call));
  times_.emplace(timer, when);
  return timer;
}

void Poller::cancel(uint64_t timer) {
  auto found = times_.find(timer);
  if (found == times_.end()) return;
  timers_.erase({found->second, timer});
  times_.erase(found);
}

void Poller::run_once() {
  int limit = -1;
  if (!timers_.empty()) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(timers_.begin()->first.first - Clock::now());
    limit = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
  }
  std::array<epoll_event, 64> events;
  int n = epoll_wait(epoll_.get(), events.data(), events.size(), limit);
  if (n < 0 && errno != EINTR) check(n, "cannot wait for events");
  for (int i = 0; i < n && !stopped_; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    auto found = watches_.find(static_cast<int>(event.data.u64 & UINT32_MAX));
    if (found == watches_.end() || found->second.generation != event.data.u64 >> 32) continue;
    auto call = found->second.call;  // it may forget itself
    (*call)(event.events);
  }
  Clock::time_point now = Clock::now();
  while (!stopped_ && !timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    times_.erase(node.key().second);
    node.mapped()();
  }
}

}  // namespace rayctl::net
