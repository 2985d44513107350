// What the clouds' clients have in common: connections, rate limits, trying again, work in parallel.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/http.h"
#include "base/retry.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

// HTTP from any thread: one client each, kept with its connections for the next one.
class HttpPool {
 public:
  explicit HttpPool(HttpOptions options) : options_(std::move(options)) {}
  HttpResponse send(const HttpRequest& request);
  const std::atomic<bool>* cancel() const { return options_.cancel; }

 private:
  HttpOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Http>> idle_;
};

// A token bucket, as clouds have one: `burst` calls at once, then `per_second`. Thread-safe.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;
  RateLimit(double burst, double per_second) : burst_(burst), per_second_(per_second), tokens_(burst) {}

  // Takes a token and says how long to wait before using it; tokens that aren't there yet are lent.
  std::chrono::milliseconds take(Clock::time_point now);
  // The cloud says that it was too much: the bucket is empty.
  void empty(Clock::time_point now);

 private:
  void fill(Clock::time_point now);
  std::mutex mutex_;
  double burst_, per_second_, tokens_;
  std::optional<Clock::time_point> filled_ = {};
};

// How often and how patiently a cloud's call is tried again: 8 times within about two minutes.
RetryPolicy cloud_retry_policy();

// One call's tries. Delays double, and half of each is random, so that parallel calls spread.
class Tries {
 public:
  explicit Tries(const std::atomic<bool>* cancel, RetryPolicy policy = cloud_retry_policy())
      : policy_(policy), cancel_(cancel) {}
  // Waits for the next try; false when there is none left. At least as long as the cloud asks for.
  bool again(std::optional<std::chrono::milliseconds> retry_after = {});
  int tried() const { return tried_; }

 private:
  RetryPolicy policy_;
  const std::atomic<bool>* cancel_;
  int tried_ = 1;
};

// The pure part of it.
std::chrono::milliseconds delay_before(const RetryPolicy& policy, int tried,
                                       std::optional<std::chrono::milliseconds> retry_after, double random);

// Calls work(0) … work(count - 1) on at most `threads` threads; afterwards throws the first error there was.
void in_parallel(size_t threads, size_t count, const std::function<void(size_t)>& work);

// What `work` gives; an error of it that has no kind yet gets one, and "`doing`: " in front.
template <class F>
auto typed(FailureKind kind, const std::string& next, std::string_view doing, F&& work) {
  try {
    return work();
  } catch (const ProviderError&) {
    throw;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    throw ProviderError(kind, next, "{}: {}", doing, e.message());
  }
}

std::string environment(const char* name);        // "" when it isn't set
std::string home_file(const std::string& below);  // beneath $HOME (/root when it is not set)
std::string lower_case(std::string_view text);

// A time as clouds write it, RFC 3339 in UTC with or without fractions; empty for another one.
std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text);

}  // namespace rayctl::cloud
