#include "cloud/sigv4.h"

#include <algorithm>
#include <ctime>
#include <map>

#include "base/encoding.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/api.h"

namespace rayctl::cloud {

namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";

std::string stamp(std::chrono::system_clock::time_point now) {
  time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm tm{};
  gmtime_r(&seconds, &tm);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
}

// The host as it goes on the wire: with the port only where it isn't the scheme's own.
std::string host_header(const Url& url) {
  bool usual = url.port == (url.scheme == "https" ? 443 : 80);
  return usual ? url.host : fmt::format("{}:{}", url.host, url.port);
}

enum class PathEncoding { again, as_it_is };  // S3's paths are the only ones that aren't encoded twice

std::string canonical_path(const std::string& path, PathEncoding encoding) {
  if (encoding == PathEncoding::as_it_is) return path;
  std::string canonical;
  for (const std::string& segment : split(path, '/'))
    canonical += (canonical.empty() ? "" : "/") + percent_encode(segment);
  return "/" + canonical;
}

// Sorted by encoded name and value; the URL's own encoding is kept.
std::string canonical_query(const std::string& query) {
  if (query.empty()) return "";
  std::vector<std::string> pairs;
  for (std::string pair : split(query, '&')) {
    if (pair.find('=') == std::string::npos) pair += '=';
    pairs.push_back(std::move(pair));
  }
  std::sort(pairs.begin(), pairs.end(), [](const std::string& a, const std::string& b) {
    size_t x = a.find('='), y = b.find('=');
    int names = a.compare(0, x, b, 0, y);
    return names != 0 ? names < 0 : a.compare(x, std::string::npos, b, y, std::string::npos) < 0;
  });
  std::string canonical;
  for (const std::string& pair : pairs) canonical += (canonical.empty() ? "" : "&") + pair;
  return canonical;
}

std::string one_space(std::string_view value) {  // runs of blanks count as one
  std::string text;
  for (char c : trim(value))
    if (c != ' ' || text.empty() || text.back() != ' ') text += c;
  return text;
}

struct Headers {
  std::string lines, names;
};

Headers canonical_headers(const HttpHeaders& headers, const Url& url) {
  std::map<std::string, std::string> sorted{{"host", host_header(url)}};
  for (const auto& [name, value] : headers) sorted[lower_case(name)] = one_space(value);
  Headers canonical;
  for (const auto& [name, value] : sorted) {
    canonical.lines += name + ":" + value + "\n";
    canonical.names += (canonical.names.empty() ? "" : ";") + name;
  }
  return canonical;
}

std::string signature(const std::string& request, const std::string& time, const std::string& scope,
                      const std::string& region, const std::string& service, const std::string& secret) {
  std::string text = fmt::format("{}\n{}\n{}\n{}", algorithm, time, scope, hex(sha256(request)));
  std::string key = hmac_sha256("AWS4" + secret, std::string_view(time).substr(0, 8));
  key = hmac_sha256(key, region);
  key = hmac_sha256(key, service);
  key = hmac_sha256(key, "aws4_request");
  return hex(hmac_sha256(key, text));
}

}  // namespace

HttpHeaders signed_headers(const SignedCall& call, const AwsCredentials& credentials,
                           std::chrono::system_clock::time_point now) {
  std::string time = stamp(now);
  std::string scope = fmt::format("{}/{}/{}/aws4_request", time.substr(0, 8), call.region, call.service);
  HttpHeaders headers = call.headers;
  headers.emplace_back("X-Amz-Date", time);
  if (!credentials.session_token.empty())
    headers.emplace_back("X-Amz-Security-Token", credentials.session_token);
  Url url = parse_url(call.url);
  Headers canonical = canonical_headers(headers, url);
  std::string request =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", call.method, canonical_path(url.path, PathEncoding::again),
                  canonical_query(url.query), canonical.lines, canonical.names, hex(sha256(call.body)));
  headers.emplace_back("Authorization", fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}",
                                                    algorithm, credentials.access_key, scope, canonical.names,
                                                    signature(request, time, scope, call.region, call.service,
                                                              credentials.secret_key)));
  return headers;
}

std::string presigned_url(const std::string& method, const std::string& url, const std::string& region,
                          const AwsCredentials& credentials, std::chrono::system_clock::time_point now,
                          std::chrono::seconds time) {
  std::string date = stamp(now);
  std::string scope = fmt::format("{}/{}/s3/aws4_request", date.substr(0, 8), region);
  std::string whole = add_query(url, "X-Amz-Algorithm", algorithm);
  whole = add_query(whole, "X-Amz-Credential", credentials.access_key + "/" + scope);
  whole = add_query(whole, "X-Amz-Date", date);
  whole = add_query(whole, "X-Amz-Expires", std::to_string(time.count()));
  whole = add_query(whole, "X-Amz-SignedHeaders", "host");
  if (!credentials.session_token.empty())
    whole = add_query(whole, "X-Amz-Security-Token", credentials.session_token);
  Url parts = parse_url(whole);
  Headers canonical = canonical_headers({}, parts);
  std::string request = fmt::format("{}\n{}\n{}\n{}\n{}\nUNSIGNED-PAYLOAD", method,
                                    canonical_path(parts.path, PathEncoding::as_it_is),
                                    canonical_query(parts.query), canonical.lines, canonical.names);
  return add_query(whole, "X-Amz-Signature",
                   signature(request, date, scope, region, "s3", credentials.secret_key));
}

}  // namespace rayctl::cloud
