#include "cloud/aws_client.h"

#include <curl/curl.h>

#include <cctype>
#include <cstdlib>

#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/ec2_errors.h"

namespace rayctl::cloud {

using std::chrono::seconds;
using std::chrono::system_clock;

namespace {

constexpr const char* form = "application/x-www-form-urlencoded; charset=utf-8";
constexpr size_t most_answer = 64 << 20;  // a page of 1,000 machines is 8 MB
constexpr int connect_tries = 4;

std::string upper_case(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::optional<std::chrono::milliseconds> retry_after(const HttpResponse& response) {
  auto text = response.header("Retry-After");
  return text ? parse_retry_after(*text, system_clock::now()) : std::nullopt;
}

}  // namespace

std::string form_body(const AwsParameters& parameters) {
  std::string body;
  for (const auto& [key, value] : parameters) {
    if (!body.empty()) body += '&';
    body += percent_encode(key) + "=" + percent_encode(value);
  }
  return body;
}

AwsClient::AwsClient(const ProviderOptions& options)
    : endpoint_(options.endpoint), http_({.cancel = options.cancel}), credentials_(options.cancel) {}

std::string AwsClient::endpoint(const std::string& service, const std::string& region) const {
  std::string url = endpoint_;
  if (url.empty()) url = environment(("AWS_ENDPOINT_URL_" + upper_case(service)).c_str());
  if (url.empty()) url = environment("AWS_ENDPOINT_URL");
  if (url.empty())
    url =
        fmt::format("https://{}.{}.amazonaws.com{}", service, region, region.starts_with("cn-") ? ".cn" : "");
  while (url.ends_with('/')) url.pop_back();
  return url + "/";
}

// Amazon's limits an account and region ("Request throttling for the Amazon EC2 API").
RateLimit& AwsClient::limit(const std::string& region, const std::string& action) {
  bool reads = action.starts_with("Describe") || action.starts_with("Get");
  std::string name = action == "RunInstances" ? "run" : reads ? "read" : "write";
  auto [burst, rate] = action == "RunInstances" ? std::pair(5.0, 2.0)
                       : reads                  ? std::pair(100.0, 20.0)
                                                : std::pair(50.0, 5.0);
  std::lock_guard lock(mutex_);
  return limits_.try_emplace(region + " " + name, burst, rate).first->second;
}

std::string AwsClient::query(const std::string& service, const std::string& region, const std::string& action,
                             AwsParameters parameters, const std::string& doing) {
  parameters.insert(parameters.begin(),
                    {{"Action", action}, {"Version", service == "sts" ? "2011-06-15" : "2016-11-15"}});
  return call({.url = endpoint(service, region),
               .headers = {{"Content-Type", form}},
               .body = form_body(parameters),
               .region = region,
               .service = service},
              action, doing);
}

std::string AwsClient::json(const std::string& service, const std::string& region, const std::string& target,
                            const std::string& body, const std::string& doing) {
  return call({.url = endpoint(service, region),
               .headers = {{"Content-Type", "application/x-amz-json-1.1"}, {"X-Amz-Target", target}},
               .body = body,
               .region = region,
               .service = service},
              target.substr(target.rfind('.') + 1), doing);
}

// A signature that is minutes off is refused: the Date of the refusal is Amazon's own clock.
bool AwsClient::mend_clock(const HttpResponse& response, const std::string& code,
                           const std::string& message) {
  bool expired = is_clock_skew(code) || message.find("ignature expired") != std::string::npos ||
                 message.find("not yet current") != std::string::npos;
  auto date = response.header("Date");
  if (!date) return false;
  time_t theirs = curl_getdate(date->c_str(), nullptr);
  if (theirs < 0) return false;
  int64_t offset = theirs - system_clock::to_time_t(system_clock::now());
  if (!expired && code != "AuthFailure" && code != "SignatureDoesNotMatch") return false;
  if (std::abs(offset - clock_offset_.load()) < 240) return false;
  clock_offset_ = offset;
  warn("this machine's clock is {} {}: set it", human_duration(seconds(std::abs(offset))),
       offset > 0 ? "slow" : "fast");
  return true;
}

std::string AwsClient::call(SignedCall signed_call, const std::string& action, const std::string& doing) {
  Tries tries(cancel());
  bool renewed = false, mended = false;
  for (;;) {
    RateLimit& rate = limit(signed_call.region, action);
    if (auto wait = rate.take(RateLimit::Clock::now()); wait.count() > 0) wait_interruptibly(wait, cancel());
    AwsCredentials credentials = credentials_.current();
    auto now = system_clock::now() + seconds(clock_offset_.load());
    HttpRequest request{.method = signed_call.method,
                        .url = signed_call.url,
                        .headers = signed_headers(signed_call, credentials, now),
                        .body = body_of(signed_call.body),
                        .limit = most_answer};
    HttpResponse response;
    try {
      response = http_.send(request);
    } catch (const HttpError& e) {
      bool connecting = e.kind() == HttpError::Kind::connect;
      if (e.transient() && (!connecting || tries.tried() < connect_tries) && tries.again()) continue;
      throw Ec2Error(FailureKind::transient, "",
                     connecting ? "is this machine on the network?" : "type it again",
                     fmt::format("{}: {}", doing, e.message()));
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {  // an answer without end
      throw Ec2Error(FailureKind::transient, "", "is that address Amazon's?",
                     fmt::format("{}: {}", doing, e.message()));
    }
    debug("{} {} {}: status {}", signed_call.service, signed_call.region, action, response.status);
    if (response.status / 100 == 2) return std::move(response.body);
    AwsFailure failure = parse_aws_failure(response.body);
    Ec2Error error = ec2_error(doing, action, failure, response.status);
    if (error.kind() == FailureKind::throttled) rate.empty(RateLimit::Clock::now());
    if ((error.kind() == FailureKind::throttled || error.kind() == FailureKind::transient) &&
        tries.again(retry_after(response)))
      continue;
    if (error.kind() == FailureKind::unauthorized) {
      if (!mended && mend_clock(response, failure.code, failure.message)) {
        mended = true;
        continue;
      }
      if (!renewed && failure.code.starts_with("ExpiredToken")) {
        renewed = true;
        if (credentials_.refresh()) continue;
      }
    }
    throw error;
  }
}

}  // namespace rayctl::cloud
