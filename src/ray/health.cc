#include "ray/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <charconv>

#include "base/text.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr size_t answer_limit = 64 << 10;
constexpr int failures_to_unhealthy = 3;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

bool parse_number(std::string_view text, int base, size_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end == text.data() + text.size();
}

// Undoes the chunked transfer coding (RFC 9112 section 7.1); false when it isn't whole.
bool unchunk(std::string_view coded, std::string& body) {
  for (;;) {
    size_t line = coded.find("\r\n");
    size_t size = 0;
    if (line == std::string_view::npos ||
        !parse_number(coded.substr(0, std::min(line, coded.find(';'))), 16, size))
      return false;
    coded.remove_prefix(line + 2);
    if (size == 0) return true;
    if (size > coded.size() || coded.size() - size < 2) return false;
    body.append(coded.substr(0, size));
    coded.remove_prefix(size + 2);
  }
}

class Probe : public HealthProbe, public std::enable_shared_from_this<Probe> {
 public:
  Probe(asio::io_context& io, std::function<void(const HttpAnswer&)> done)
      : socket_(io), timer_(io), done_(std::move(done)) {}

  void begin(const std::string& address, uint16_t port, const std::string& path,
             std::chrono::milliseconds timeout) {
    auto self = shared_from_this();
    request_ = fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\nAccept: */*\r\n\r\n", path,
                           address, port);
    timer_.expires_after(timeout);
    timer_.async_wait([self, timeout](const boost::system::error_code& error) {
      if (!error) self->end({.error = fmt::format("no answer within {}", human_duration(timeout))});
    });
    boost::system::error_code error;
    asio::ip::address target = asio::ip::make_address(address, error);
    if (error) {
      asio::post(socket_.get_executor(),
                 [self, address] { self->end({.error = "'" + address + "' isn't an address"}); });
      return;
    }
    socket_.async_connect({target, port}, [self](const boost::system::error_code& e) {
      if (e) return self->end({.error = e.message()});
      asio::async_write(self->socket_, asio::buffer(self->request_),
                        [self](const boost::system::error_code& w, size_t) {
                          if (w) return self->end({.error = w.message()});
                          self->read();
                        });
    });
  }

  void cancel() override {
    done_ = nullptr;
    close();
  }

 private:
  void read() {
    auto self = shared_from_this();
    socket_.async_read_some(asio::buffer(buffer_), [self](const boost::system::error_code& error, size_t n) {
      self->answer_.append(self->buffer_.data(), n);
      if (self->answer_.size() > answer_limit) return self->end({.error = "the answer is too long"});
      if (error == asio::error::eof) return self->end(parse_http_answer(self->answer_));
      if (error) return self->end({.error = error.message()});
      self->read();
    });
  }

  void end(const HttpAnswer& answer) {
    close();
    if (auto done = std::exchange(done_, nullptr)) done(answer);
  }

  void close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
  }

  asio::ip::tcp::socket socket_;
  asio::steady_timer timer_;
  std::function<void(const HttpAnswer&)> done_;
  std::string request_, answer_;
  std::array<char, 4096> buffer_;
};

}  // namespace

HttpAnswer parse_http_answer(std::string_view bytes) {
  HttpAnswer answer;
  size_t head_end = bytes.find("\r\n\r\n");
  size_t status = 0;
  if (bytes.size() > answer_limit || head_end == std::string_view::npos || !bytes.starts_with("HTTP/1.") ||
      bytes.size() < 12 || !parse_number(bytes.substr(9, 3), 10, status) || status < 100) {
    answer.error = "not a whole HTTP answer";
    return answer;
  }
  std::string_view body = bytes.substr(head_end + 4);
  bool chunked = false;
  for (const std::string& line : split(bytes.substr(0, head_end), '\n')) {
    std::string field = lower(trim(line));
    if (field.starts_with("transfer-encoding:") && field.ends_with("chunked")) chunked = true;
    size_t length = 0;
    if (field.starts_with("content-length:") &&
        parse_number(trim(std::string_view(field).substr(15)), 10, length)) {
      if (length > body.size()) {
        answer.error = "the answer was cut off";
        return answer;
      }
      body = body.substr(0, length);
    }
  }
  if (chunked) {
    if (!unchunk(body, answer.body)) {
      answer.error = "the answer was cut off";
      return answer;
    }
  } else {
    answer.body = body;
  }
  answer.status = static_cast<int>(status);
  return answer;
}

std::shared_ptr<HealthProbe> HealthProbe::start(asio::io_context& io, const std::string& address,
                                                uint16_t port, const std::string& path,
                                                std::chrono::milliseconds timeout,
                                                std::function<void(const HttpAnswer&)> done) {
  auto probe = std::make_shared<Probe>(io, std::move(done));
  probe->begin(address, port, path, timeout);
  return probe;
}

HealthJudge::Verdict HealthJudge::judge(bool ok) {
  failures_ = ok ? 0 : failures_ + 1;
  if (ok)
    verdict_ = Verdict::healthy;
  else if (verdict_ == Verdict::healthy && failures_ >= failures_to_unhealthy)
    verdict_ = Verdict::unhealthy;
  return verdict_;
}

std::chrono::milliseconds HealthJudge::interval() const {
  return verdict_ == Verdict::healthy ? std::chrono::milliseconds(5000) : std::chrono::milliseconds(250);
}

}  // namespace rayctl::ray
