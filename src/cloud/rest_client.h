// JSON over HTTP with a bearer token, as Google and Azure speak it; tries again what may work later.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/json.h"
#include "cloud/api.h"

namespace rayctl::cloud {

// A refusal with the cloud's own code, for the few places that branch on it.
class RestError : public ProviderError {
 public:
  RestError(FailureKind kind, std::string code, int status, std::string next, const std::string& message)
      : ProviderError(kind, std::move(next), "{}", message), code_(std::move(code)), status_(status) {}
  const std::string& code() const { return code_; }  // "quotaExceeded", "SkuNotAvailable"
  int status() const { return status_; }  // of HTTP; 0 when there was no answer, or in an operation's result

 private:
  std::string code_;
  int status_;
};

// What one cloud does its own way.
struct RestDialect {
  std::string cloud = {};                     // "Google", for messages
  double burst = 40, writes_per_second = 10;  // that the cloud allows; twice as many reads
  std::function<std::string()> token = {};    // a bearer token that is valid now
  std::function<void()> renew = {};           // the cloud refused it: the next token() must be another one
  std::function<RestError(const std::string& doing, const HttpResponse& response)> error = {};
};

// Thread-safe.
class RestClient {
 public:
  RestClient(RestDialect dialect, const std::atomic<bool>* cancel)
      : dialect_(std::move(dialect)),
        http_({.cancel = cancel}),
        reads_(dialect_.burst * 2, dialect_.writes_per_second * 2),
        writes_(dialect_.burst, dialect_.writes_per_second) {}

  // The answer of a call that succeeded (2xx). Throws RestError; `doing` begins its message.
  HttpResponse send(const std::string& method, const std::string& url, const std::string& body,
                    const std::string& doing);
  // The same, as a document; an empty answer is an empty object.
  Json json(const std::string& method, const std::string& url, const std::string& body,
            const std::string& doing);
  // Empty when the object isn't there (404).
  std::optional<Json> find(const std::string& url, const std::string& doing);

  const std::atomic<bool>* cancel() const { return http_.cancel(); }

 private:
  RestDialect dialect_;
  HttpPool http_;
  RateLimit reads_, writes_;
};

std::optional<std::chrono::milliseconds> retry_after_of(const HttpResponse& response);

std::string without_slash(std::string url);  // at its end
// Between two looks at what takes a while: `usual`, and less where tests shorten the retries.
std::chrono::milliseconds pause_between(std::chrono::milliseconds usual);

// A name that clouds accept: [a-z][-a-z0-9]*, at most `longest` characters; other texts get a part of their
// hash, so that different ones stay different.
std::string cloud_name(std::string_view prefix, std::string_view text, size_t longest = 63);
// The same text always gives the same UUID.
std::string uuid_of(std::string_view text);

}  // namespace rayctl::cloud
