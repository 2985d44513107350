// Asks Ray how it is: native HTTP to its health endpoints, never an exec into the container.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

struct HttpAnswer {
  int status = 0;  // 0: no whole answer
  std::string body;
  std::string error;  // why there is none
};

// Parses a whole HTTP/1.x answer that ended with the connection (RFC 9112: status line, fields, a body by
// Content-Length, chunked, or to the end). At most 64 KiB.
HttpAnswer parse_http_answer(std::string_view bytes);

// GET http://address:port/path; the callback comes once, from the loop. A probe that is dropped calls
// nothing.
class HealthProbe {
 public:
  static std::shared_ptr<HealthProbe> start(boost::asio::io_context& io, const std::string& address,
                                            uint16_t port, const std::string& path,
                                            std::chrono::milliseconds timeout,
                                            std::function<void(const HttpAnswer&)> done);
  virtual ~HealthProbe() = default;
  virtual void cancel() = 0;
};

// When the next look is due and what the looks amount to: pure.
class HealthJudge {
 public:
  enum class Verdict { starting, healthy, unhealthy };
  // `ok` of one probe; three failures in a row make a healthy Ray unhealthy, one success makes it healthy.
  Verdict judge(bool ok);
  Verdict verdict() const { return verdict_; }
  std::chrono::milliseconds interval() const;  // short until healthy: every quarter of a second counts there

 private:
  Verdict verdict_ = Verdict::starting;
  int failures_ = 0;
};

}  // namespace rayctl::ray
