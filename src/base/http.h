// An HTTP client: one request at a time on kept connections, bodies streamed both ways.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/io.h"

namespace rayctl {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

enum class Certificates { verify, accept_any };

std::chrono::seconds default_stall_timeout();

struct HttpOptions {
  std::string ca_file = {};  // PEM; trusted besides the system's own
  std::string ca_text = {};  // the same, as text
  Certificates certificates = Certificates::verify;
  std::chrono::seconds connect_timeout{20};
  // without data in either direction; a long transfer is no failure. RAYCTL_STALL_SECONDS: for tests
  std::chrono::seconds stall_timeout = default_stall_timeout();
  const std::atomic<bool>* cancel = nullptr;  // set by another thread: the transfer ends with Interrupted
};

// A request's body, which may be sent again after a redirect or on a fresh connection.
struct HttpBody {
  std::function<Source()> open = {};
  uint64_t size = 0;
};
HttpBody body_of(std::string text);

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};
  HttpHeaders headers = {};
  std::optional<HttpBody> body = {};
  size_t limit = 8 << 20;                                  // of a collected response body: more is an error
  std::optional<std::chrono::seconds> stall_timeout = {};  // in place of the client's
};

struct HttpResponse {
  int status = 0;
  std::string url = {};  // of the request that it answers
  HttpHeaders headers = {};
  std::string body = {};  // when it wasn't streamed

  std::optional<std::string> header(std::string_view name) const;  // the first one, in any case of letters
  std::vector<std::string> all(std::string_view name) const;
  std::string content_type() const;  // lower case, without parameters
};

// No answer came, or not a whole one.
class HttpError : public Error {
 public:
  enum class Kind { connect, tls, certificate, stalled, broken };
  template <class... A>
  HttpError(Kind kind, fmt::format_string<A...> format, A&&... args)
      : Error(format, std::forward<A>(args)...), kind_(kind) {}
  Kind kind() const { return kind_; }
  bool transient() const { return kind_ != Kind::certificate && kind_ != Kind::tls; }

 private:
  Kind kind_;
};

// Chooses where a response's body goes once its head is there; an empty Sink collects it in `body`.
using OnBody = std::function<Sink(const HttpResponse& head)>;

// For one thread. Proxies come from http_proxy, https_proxy and no_proxy; loopback never goes through one.
class Http {
 public:
  explicit Http(HttpOptions options = {});
  Http(Http&&) noexcept;
  ~Http();

  HttpResponse send(const HttpRequest& request, const OnBody& on_body = {});

  // The same, through at most 10 redirects: never from https to http, and with Authorization only while
  // scheme, host and port stay. 303 and a redirected POST become GET, as browsers do; 307 and 308 send the
  // body again.
  HttpResponse follow(HttpRequest request, const OnBody& on_body = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Where certificates are: $SSL_CERT_FILE, else the first of the distributions' places; empty when there is
// none.
std::string find_ca_bundle();

// Waits, and wakes early when the command is interrupted (throws Interrupted) or `cancel` is set.
void wait_interruptibly(std::chrono::milliseconds time, const std::atomic<bool>* cancel = nullptr);

}  // namespace rayctl
