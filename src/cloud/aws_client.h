// Signed calls of Amazon's APIs, with everything that makes one succeed in the end: rate limits, tries, fresh
// credentials, a wrong clock.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cloud/api.h"
#include "cloud/aws_credentials.h"

namespace rayctl::cloud {

using AwsParameters = std::vector<std::pair<std::string, std::string>>;
std::string form_body(
    const AwsParameters& parameters);  // application/x-www-form-urlencoded, RFC 3986 escapes

// Thread-safe.
class AwsClient {
 public:
  explicit AwsClient(const ProviderOptions& options);

  // One action of a Query API ("ec2", "sts"); the XML answer. Throws Ec2Error; `doing` begins its message.
  std::string query(const std::string& service, const std::string& region, const std::string& action,
                    AwsParameters parameters, const std::string& doing);
  // One operation of a JSON API: "ssm", "AmazonSSM.GetParameter".
  std::string json(const std::string& service, const std::string& region, const std::string& target,
                   const std::string& body, const std::string& doing);

  // --endpoint, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, or Amazon's own.
  std::string endpoint(const std::string& service, const std::string& region) const;
  AwsCredentialChain& credentials() { return credentials_; }
  const std::atomic<bool>* cancel() const { return http_.cancel(); }

 private:
  std::string call(SignedCall call, const std::string& action, const std::string& doing);
  RateLimit& limit(const std::string& region, const std::string& action);
  bool mend_clock(const HttpResponse& response, const std::string& code, const std::string& message);

  std::string endpoint_;
  HttpPool http_;
  AwsCredentialChain credentials_;
  std::atomic<int64_t> clock_offset_{0};  // seconds that Amazon is ahead of us
  std::mutex mutex_;
  std::map<std::string, RateLimit> limits_ = {};
};

}  // namespace rayctl::cloud
