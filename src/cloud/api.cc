#include "cloud/api.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::cloud {

using std::chrono::milliseconds;

HttpResponse HttpPool::send(const HttpRequest& request) {
  std::unique_ptr<Http> http;
  {
    std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      http = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!http) http = std::make_unique<Http>(options_);
  HttpResponse response = http->send(request);  // one that failed isn't used again
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(http));
  return response;
}

void RateLimit::fill(Clock::time_point now) {
  if (filled_ && now > *filled_)
    tokens_ = std::min(burst_, tokens_ + per_second_ * std::chrono::duration<double>(now - *filled_).count());
  if (!filled_ || now > *filled_) filled_ = now;
}

milliseconds RateLimit::take(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  fill(now);
  tokens_ -= 1;
  if (tokens_ >= 0) return milliseconds(0);
  return milliseconds(static_cast<int64_t>(-tokens_ / per_second_ * 1000) + 1);
}

void RateLimit::empty(Clock::time_point now) {
  std::lock_guard lock(mutex_);
  fill(now);
  tokens_ = std::min(tokens_, 0.0);
}

RetryPolicy cloud_retry_policy() {
  RetryPolicy policy = default_retry_policy();
  policy.tries = 8;
  if (environment("RAYCTL_RETRY_MS").empty()) policy.first = milliseconds(1000);
  policy.longest = milliseconds(30000);
  return policy;
}

milliseconds delay_before(const RetryPolicy& policy, int tried, std::optional<milliseconds> retry_after,
                          double random) {
  milliseconds whole = std::min(policy.first * (int64_t{1} << std::clamp(tried - 1, 0, 16)), policy.longest);
  auto delay = milliseconds(static_cast<int64_t>(static_cast<double>(whole.count()) * (0.5 + random / 2)));
  if (retry_after) delay = std::max(delay, std::min(*retry_after, policy.longest * 4));
  return delay;
}

bool Tries::again(std::optional<milliseconds> retry_after) {
  if (tried_ >= policy_.tries) return false;
  wait_interruptibly(delay_before(policy_, tried_, retry_after, random_fraction()), cancel_);
  ++tried_;
  return true;
}

void in_parallel(size_t threads, size_t count, const std::function<void(size_t)>& work) {
  threads = std::min(threads, count);
  if (threads <= 1) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failed;
  auto loop = [&] {
    for (size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (!failed) failed = std::current_exception();
        next = count;
      }
    }
  };
  {
    std::vector<std::jthread> pool;
    for (size_t i = 0; i < threads; ++i) pool.emplace_back(loop);
  }
  if (failed) std::rethrow_exception(failed);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string home_file(const std::string& below) {
  std::string home = environment("HOME");
  return join(home.empty() ? "/root" : home, below);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text) {
  std::string whole(text);
  std::tm tm{};
  const char* rest = strptime(whole.c_str(), "%Y-%m-%dT%H:%M:%S", &tm);
  if (!rest || tm.tm_year < 70 || tm.tm_year > 300) return std::nullopt;  // system_clock ends in 2262
  if (*rest == '.')
    for (++rest; std::isdigit(static_cast<unsigned char>(*rest));) ++rest;
  long offset = 0;
  if (std::string_view zone = rest; zone != "Z") {
    // "+01:00", as Google writes its own time zone
    if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return std::nullopt;
    for (size_t i : {1, 2, 4, 5})
      if (!std::isdigit(static_cast<unsigned char>(zone[i]))) return std::nullopt;
    offset = (zone[1] - '0') * 36000 + (zone[2] - '0') * 3600 + (zone[4] - '0') * 600 + (zone[5] - '0') * 60;
    if (zone[0] == '-') offset = -offset;
  }
  time_t seconds = timegm(&tm);
  return std::chrono::system_clock::from_time_t(seconds) - std::chrono::seconds(offset);
}

}  // namespace rayctl::cloud
