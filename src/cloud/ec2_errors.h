// What EC2's error codes mean ("Error codes for the Amazon EC2 API").
#pragma once

#include <string>

#include "cloud/ec2_answers.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

// A refusal with EC2's own code, for the few places that branch on it.
class Ec2Error : public ProviderError {
 public:
  Ec2Error(FailureKind kind, std::string code, std::string next, const std::string& message)
      : ProviderError(kind, std::move(next), "{}", message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// Whether another zone of the region may have what this one refuses.
bool another_zone_may_do(const Ec2Error& error);
// Whether another size may.
bool another_size_may_do(const Ec2Error& error);

FailureKind kind_of_aws(const std::string& code, int status);
// `doing`: "cannot boot machines in 'us-east-1'".
Ec2Error ec2_error(const std::string& doing, const std::string& action, const AwsFailure& failure,
                   int status);

// Amazon's clock says that ours is wrong.
bool is_clock_skew(const std::string& code);

}  // namespace rayctl::cloud
