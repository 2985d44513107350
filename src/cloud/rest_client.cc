#include "cloud/rest_client.h"

#include <cctype>

#include "base/encoding.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::cloud {

namespace {

constexpr size_t most_answer = 64 << 20;
constexpr int connect_tries = 4;

}  // namespace

std::optional<std::chrono::milliseconds> retry_after_of(const HttpResponse& response) {
  auto text = response.header("Retry-After");
  return text ? parse_retry_after(*text, std::chrono::system_clock::now()) : std::nullopt;
}

HttpResponse RestClient::send(const std::string& method, const std::string& url, const std::string& body,
                              const std::string& doing) {
  Tries tries(cancel());
  bool renewed = false;
  for (;;) {
    RateLimit& rate = method == "GET" ? reads_ : writes_;
    if (auto wait = rate.take(RateLimit::Clock::now()); wait.count() > 0) wait_interruptibly(wait, cancel());
    HttpRequest request{
        .method = method,
        .url = url,
        .headers = {{"Authorization", "Bearer " + dialect_.token()}, {"Accept", "application/json"}},
        .limit = most_answer};
    if (!body.empty()) {
      request.headers.emplace_back("Content-Type", "application/json");
      request.body = body_of(body);
    }
    HttpResponse response;
    try {
      response = http_.send(request);
    } catch (const HttpError& e) {
      bool connecting = e.kind() == HttpError::Kind::connect;
      if (e.transient() && (!connecting || tries.tried() < connect_tries) && tries.again()) continue;
      throw RestError(FailureKind::transient, "", 0,
                      connecting ? "is this machine on the network?" : "type it again",
                      fmt::format("{}: {}", doing, e.message()));
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {  // an answer without end
      throw RestError(FailureKind::transient, "", 0, "is that address the cloud's?",
                      fmt::format("{}: {}", doing, e.message()));
    }
    debug("{} {} {}: status {}", dialect_.cloud, method, show_url(url), response.status);
    if (response.status / 100 == 2) return response;
    RestError error = dialect_.error(doing, response);
    if (error.kind() == FailureKind::throttled) rate.empty(RateLimit::Clock::now());
    if ((error.kind() == FailureKind::throttled || error.kind() == FailureKind::transient) &&
        tries.again(retry_after_of(response)))
      continue;
    if (response.status == 401 && !renewed) {
      renewed = true;
      dialect_.renew();
      continue;
    }
    throw error;
  }
}

Json RestClient::json(const std::string& method, const std::string& url, const std::string& body,
                      const std::string& doing) {
  std::string text = send(method, url, body, doing).body;
  return typed(FailureKind::transient, "is that address the cloud's?", doing,
               [&] { return Json::parse(trim(text).empty() ? "{}" : text, dialect_.cloud + "'s answer"); });
}

std::optional<Json> RestClient::find(const std::string& url, const std::string& doing) {
  try {
    return json("GET", url, "", doing);
  } catch (const RestError& e) {
    if (e.status() != 404) throw;
    return std::nullopt;
  }
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::chrono::milliseconds pause_between(std::chrono::milliseconds usual) {
  return std::min(usual, cloud_retry_policy().first * 2);
}

std::string cloud_name(std::string_view prefix, std::string_view text, size_t longest) {
  std::string name(prefix);
  for (char c : text) {
    unsigned char byte = static_cast<unsigned char>(c);
    name += byte < 0x80 && (std::islower(byte) || std::isdigit(byte)) ? c : '-';
  }
  bool same = name.size() <= longest && name == std::string(prefix) + std::string(text) && !name.empty() &&
              std::islower(static_cast<unsigned char>(name[0])) && name.back() != '-';
  if (same) return name;
  std::string hash = hex(sha256(text)).substr(0, 10);
  if (name.empty() || !std::islower(static_cast<unsigned char>(name[0]))) name.insert(0, "x");
  name = name.substr(0, longest - hash.size() - 1);
  while (name.ends_with('-')) name.pop_back();
  return name + "-" + hash;
}

std::string uuid_of(std::string_view text) {
  std::string bytes = sha256(text).substr(0, 16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x50);  // version 5, RFC 9562
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string digits = hex(bytes);
  return fmt::format("{}-{}-{}-{}-{}", digits.substr(0, 8), digits.substr(8, 4), digits.substr(12, 4),
                     digits.substr(16, 4), digits.substr(20));
}

}  // namespace rayctl::cloud
