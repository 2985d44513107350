#include "base/http.h"

#include <curl/curl.h>
#include <poll.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <exception>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "base/url.h"
#include "base/version.h"

namespace rayctl {

namespace {

constexpr size_t most_headers = 256, most_header_bytes = 256 << 10;
constexpr int most_redirects = 10;

void start_curl_once() {
  static const CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (rc != CURLE_OK) throw Error("cannot start libcurl: {}", curl_easy_strerror(rc));
}

using List = std::unique_ptr<curl_slist, decltype([](curl_slist* l) { curl_slist_free_all(l); })>;

// Whether bytes still flow; libcurl's own LOW_SPEED options let a byte now and then pass for ever.
class Stall {
 public:
  explicit Stall(std::chrono::seconds time = {}) : time_(time) {}

  // Runs what isn't the network's time: a sink may wait for a slow disk.
  template <class F>
  void outside(F&& f) {
    auto start = Clock::now();
    f();
    since_ += Clock::now() - start;
  }
  bool is_over(uint64_t bytes) {
    auto now = Clock::now();
    if (bytes - seen_ >= slowest * static_cast<uint64_t>(time_.count())) {
      seen_ = bytes;
      since_ = now;
    }
    return now - since_ > time_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t slowest = 64;  // bytes a second
  std::chrono::seconds time_;
  Clock::time_point since_ = Clock::now();
  uint64_t seen_ = 0;
};

// One transfer's callbacks; an exception is carried across libcurl's C frames.
struct Transfer {
  const HttpRequest* request = nullptr;
  const OnBody* on_body = nullptr;
  const std::atomic<bool>* cancel = nullptr;
  HttpResponse response = {};
  size_t header_bytes = 0;
  bool head_done = false;
  Sink sink = {};
  Source source = {};
  Stall watch{};
  bool stalled = false;
  std::exception_ptr error = {};

  template <class F>
  size_t guarded(size_t failure, F&& f) {
    try {
      return f();
    } catch (...) {
      error = std::current_exception();
      return failure;
    }
  }

  void header_line(std::string_view line) {
    if (line.starts_with("HTTP/")) {  // also after a 100 Continue
      response.headers.clear();
      header_bytes = 0;
      return;
    }
    line = trim(line);
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    header_bytes += line.size();
    if (response.headers.size() >= most_headers || header_bytes > most_header_bytes)
      throw Error("cannot read the answer of '{}': too many headers", show_url(request->url));
    response.headers.emplace_back(std::string(trim(line.substr(0, colon))),
                                  std::string(trim(line.substr(colon + 1))));
  }

  void body(CURL* easy, Bytes bytes) {
    if (!head_done) {
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      response.status = static_cast<int>(status);
      if (*on_body) sink = (*on_body)(response);
      head_done = true;
    }
    if (sink) return watch.outside([&] { sink(bytes); });
    if (response.body.size() + bytes.size() > request->limit)
      throw Error("the answer of '{}' is longer than {} bytes", show_url(request->url), request->limit);
    response.body += as_text(bytes);
  }
};

struct Callback {
  Transfer* transfer;
  CURL* easy;
};

size_t on_header(char* data, size_t size, size_t count, void* self) {
  auto* c = static_cast<Callback*>(self);
  return c->transfer->guarded(0, [&] {
    c->transfer->header_line({data, size * count});
    return size * count;
  });
}

size_t on_write(char* data, size_t size, size_t count, void* self) {
  auto* c = static_cast<Callback*>(self);
  return c->transfer->guarded(0, [&] {
    c->transfer->body(c->easy, as_bytes({data, size * count}));
    return size * count;
  });
}

size_t on_read(char* buffer, size_t size, size_t count, void* self) {
  auto* c = static_cast<Callback*>(self);
  return c->transfer->guarded(CURL_READFUNC_ABORT, [&] {
    return c->transfer->source(std::as_writable_bytes(std::span(buffer, size * count)));
  });
}

int on_seek(void* self, curl_off_t offset, int origin) {
  auto* c = static_cast<Callback*>(self);
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  return c->transfer->guarded(1,
                              [&] {
                                c->transfer->source = c->transfer->request->body->open();
                                return size_t{0};
                              }) == 0
             ? CURL_SEEKFUNC_OK
             : CURL_SEEKFUNC_FAIL;
}

int on_progress(void* self, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
  Transfer& transfer = *static_cast<Callback*>(self)->transfer;
  if (interrupted() || (transfer.cancel && transfer.cancel->load())) return 1;
  transfer.stalled = transfer.watch.is_over(static_cast<uint64_t>(received + sent));
  return transfer.stalled ? 1 : 0;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

HttpError::Kind kind_of(CURLcode rc) {
  using Kind = HttpError::Kind;
  switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Kind::connect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return Kind::certificate;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CERTPROBLEM:
      return Kind::tls;
    case CURLE_OPERATION_TIMEDOUT:
      return Kind::stalled;
    default:
      return Kind::broken;
  }
}

}  // namespace

struct Http::State {
  HttpOptions options;
  std::string ca_bundle, ca_bytes;
  std::unique_ptr<CURL, decltype([](CURL* c) { curl_easy_cleanup(c); })> easy{curl_easy_init()};
};

std::chrono::seconds default_stall_timeout() {
  const char* text = std::getenv("RAYCTL_STALL_SECONDS");
  return std::chrono::seconds(text ? std::clamp(std::strtol(text, nullptr, 10), 1L, 3600L) : 60L);
}

std::string find_ca_bundle() {
  if (const char* file = std::getenv("SSL_CERT_FILE"); file && *file) return file;
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt",  // Debian, Ubuntu, Alpine, Arch
                           "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
                           "/etc/pki/tls/certs/ca-bundle.crt",                   // older Fedora, Amazon Linux
                           "/etc/ssl/ca-bundle.pem", "/var/lib/ca-certificates/ca-bundle.pem",  // SUSE
                           "/etc/ssl/cert.pem"})  // Alpine's libressl, BSDs
    if (access(path, R_OK) == 0) return path;
  return "";
}

HttpBody body_of(std::string text) {
  auto shared = std::make_shared<const std::string>(std::move(text));
  return {.open =
              [shared] {
                return [shared, inner = read_from(*shared)](std::span<std::byte> b) { return inner(b); };
              },
          .size = shared->size()};
}

std::optional<std::string> HttpResponse::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (equal_ignoring_case(key, name)) return value;
  return std::nullopt;
}

std::vector<std::string> HttpResponse::all(std::string_view name) const {
  std::vector<std::string> found;
  for (const auto& [key, value] : headers)
    if (equal_ignoring_case(key, name)) found.push_back(value);
  return found;
}

std::string HttpResponse::content_type() const {
  std::string type = header("Content-Type").value_or("");
  type = std::string(trim(type.substr(0, type.find(';'))));
  for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return type;
}

Http::Http(HttpOptions options) {
  start_curl_once();
  state_ = std::make_unique<State>();
  if (!state_->easy) throw Error("cannot start libcurl: out of memory");
  state_->ca_bundle = find_ca_bundle();
  std::string extra = options.ca_text;
  if (!options.ca_file.empty()) {
    // The file that the user named must hold certificates, or every request fails without a reason.
    std::string text = read_file(options.ca_file);
    if (text.find("-----BEGIN CERTIFICATE-----") == std::string::npos)
      throw Error("cannot use '{}': it holds no PEM certificate", options.ca_file);
    extra += text;
  }
  if (!extra.empty()) {
    if (!state_->ca_bundle.empty()) state_->ca_bytes = read_file(state_->ca_bundle) + "\n";
    state_->ca_bytes += extra;
  }
  state_->options = std::move(options);
}

Http::Http(Http&&) noexcept = default;
Http::~Http() = default;

HttpResponse Http::send(const HttpRequest& request, const OnBody& on_body) {
  CURL* easy = state_->easy.get();
  const HttpOptions& options = state_->options;
  curl_easy_reset(easy);  // keeps connections, sessions and names
  Transfer transfer{.request = &request, .on_body = &on_body, .cancel = options.cancel};
  transfer.response.url = request.url;
  Callback callback{&transfer, easy};
  char detail[CURL_ERROR_SIZE] = "";
  auto set = [&](CURLoption option, auto value) {
    if (CURLcode rc = curl_easy_setopt(easy, option, value); rc != CURLE_OK)
      throw Error("cannot set up a request to '{}': {}", show_url(request.url), curl_easy_strerror(rc));
  };

  Url url = parse_url(request.url);
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_ERRORBUFFER, detail);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(options.connect_timeout.count()));
  auto stall = request.stall_timeout.value_or(options.stall_timeout);
  transfer.watch = Stall(stall);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_BUFFERSIZE, 512L << 10);
  set(CURLOPT_UPLOAD_BUFFERSIZE, 2L << 20);
  static const std::string agent = fmt::format("rayctl/{}", version());
  set(CURLOPT_USERAGENT, agent.c_str());
  if (is_loopback_host(url.host)) set(CURLOPT_NOPROXY, "*");
  set(CURLOPT_SSL_VERIFYPEER, options.certificates == Certificates::verify ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, options.certificates == Certificates::verify ? 2L : 0L);
  if (!state_->ca_bytes.empty()) {
    curl_blob blob{state_->ca_bytes.data(), state_->ca_bytes.size(), CURL_BLOB_NOCOPY};
    set(CURLOPT_CAINFO_BLOB, &blob);
  } else if (!state_->ca_bundle.empty()) {
    set(CURLOPT_CAINFO, state_->ca_bundle.c_str());
  }

  curl_slist* list = nullptr;
  for (const auto& [key, value] : request.headers) {
    if (value.find_first_of("\r\n") != std::string::npos) throw Error("a header has a line break in it");
    list = curl_slist_append(list, fmt::format("{}: {}", key, value).c_str());
  }
  list = curl_slist_append(list, "Expect:");  // some servers never answer it
  List owned{list};
  set(CURLOPT_HTTPHEADER, list);

  if (request.body) {
    transfer.source = request.body->open();
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size));
    set(CURLOPT_READFUNCTION, on_read);
    set(CURLOPT_READDATA, &callback);
    set(CURLOPT_SEEKFUNCTION, on_seek);
    set(CURLOPT_SEEKDATA, &callback);
  } else if (request.method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDSIZE, 0L);
    set(CURLOPT_POSTFIELDS, "");
  }
  if (request.method != "HEAD") set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  set(CURLOPT_HEADERFUNCTION, on_header);
  set(CURLOPT_HEADERDATA, &callback);
  set(CURLOPT_WRITEFUNCTION, on_write);
  set(CURLOPT_WRITEDATA, &callback);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, &callback);

  CURLcode rc = curl_easy_perform(easy);
  if (transfer.error) std::rethrow_exception(transfer.error);
  if (rc == CURLE_ABORTED_BY_CALLBACK && !transfer.stalled) throw Interrupted();
  if (transfer.stalled) rc = CURLE_OPERATION_TIMEDOUT;
  if (rc != CURLE_OK) {
    long code = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &code);
    std::string reason = *detail ? detail : curl_easy_strerror(rc);
    if (rc == CURLE_COULDNT_CONNECT && code) reason = SysError::describe(static_cast<int>(code));
    if (rc == CURLE_COULDNT_RESOLVE_HOST)
      reason = fmt::format("the name '{}' is not known", printable(url.host));
    if (transfer.stalled) reason = fmt::format("no data for {} s", stall.count());
    bool underway = kind_of(rc) == HttpError::Kind::broken || kind_of(rc) == HttpError::Kind::stalled;
    HttpError error(kind_of(rc), "cannot {} '{}': {}", underway ? "finish the transfer of" : "reach",
                    show_url(request.url), printable(reason));
    if (kind_of(rc) == HttpError::Kind::certificate && state_->ca_bundle.empty() && state_->ca_bytes.empty())
      error.hint("no CA certificates were found: set SSL_CERT_FILE");
    throw error;
  }
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  transfer.response.status = static_cast<int>(status);
  return std::move(transfer.response);
}

HttpResponse Http::follow(HttpRequest request, const OnBody& on_body) {
  // the body of a redirect goes nowhere
  auto is_redirect = [](int status) {
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  };
  OnBody final_body;
  if (on_body)
    final_body = [&](const HttpResponse& head) { return is_redirect(head.status) ? Sink{} : on_body(head); };
  for (int hop = 0;; ++hop) {
    HttpResponse response = send(request, final_body);
    auto location = response.header("Location");
    if (!is_redirect(response.status) || !location) return response;
    if (hop == most_redirects)
      throw Error("cannot reach '{}': more than {} redirects", show_url(request.url), most_redirects);
    std::string target = resolve_url(request.url, *location);
    Url from = parse_url(request.url), to = parse_url(target);
    if (from.scheme == "https" && to.scheme == "http")
      throw Error("cannot follow '{}' to '{}': that would leave https", show_url(request.url),
                  show_url(target));
    if (!same_origin(from, to))
      std::erase_if(request.headers, [](const auto& h) {
        return equal_ignoring_case(h.first, "Authorization") || equal_ignoring_case(h.first, "Cookie");
      });
    if (response.status == 303 || (request.method == "POST" && response.status < 303)) {
      if (request.method != "HEAD") request.method = "GET";
      request.body.reset();
    }
    request.url = target;
  }
}

void wait_interruptibly(std::chrono::milliseconds time, const std::atomic<bool>* cancel) {
  auto end = std::chrono::steady_clock::now() + time;
  for (;;) {
    throw_if_interrupted();
    if (cancel && cancel->load()) throw Interrupted();
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    pollfd wake{.fd = interrupt_fd(), .events = POLLIN, .revents = 0};
    poll(&wake, 1, static_cast<int>(std::min<int64_t>(left.count(), 200)));
  }
}

}  // namespace rayctl
