#include "cloud/ec2_errors.h"

#include <map>
#include <string_view>

#include "base/retry.h"

namespace rayctl::cloud {

namespace {

const std::map<std::string_view, FailureKind>& table() {
  using K = FailureKind;
  static const std::map<std::string_view, FailureKind> kinds{
      {"InsufficientInstanceCapacity", K::capacity},
      {"InsufficientCapacity", K::capacity},
      {"InsufficientHostCapacity", K::capacity},
      {"InsufficientReservedInstanceCapacity", K::capacity},
      {"InsufficientCapacityOnHost", K::capacity},
      {"InsufficientFreeAddressesInSubnet", K::capacity},
      {"ReservationCapacityExceeded", K::capacity},
      {"UnfulfillableCapacity", K::capacity},
      {"Unsupported", K::capacity},  // "… is not supported in your requested Availability Zone"
      {"VcpuLimitExceeded", K::quota},
      {"InstanceLimitExceeded", K::quota},
      {"MaxSpotInstanceCountExceeded", K::quota},
      {"MaxSpotFleetRequestCountExceeded", K::quota},
      {"VolumeLimitExceeded", K::quota},
      {"MaxIOPSLimitExceeded", K::quota},
      {"SecurityGroupLimitExceeded", K::quota},
      {"SecurityGroupsPerInstanceLimitExceeded", K::quota},
      {"RulesPerSecurityGroupLimitExceeded", K::quota},
      {"NetworkInterfaceLimitExceeded", K::quota},
      {"AddressLimitExceeded", K::quota},
      {"PrivateIpAddressLimitExceeded", K::quota},
      {"RequestLimitExceeded", K::throttled},
      {"Throttling", K::throttled},
      {"ThrottlingException", K::throttled},
      {"ThrottledException", K::throttled},
      {"RequestThrottled", K::throttled},
      {"RequestThrottledException", K::throttled},
      {"EC2ThrottledException", K::throttled},
      {"TooManyRequestsException", K::throttled},
      {"BandwidthLimitExceeded", K::throttled},
      {"ResourceCountExceeded", K::throttled},
      {"SpotMaxPriceTooLow", K::price},
      {"UnauthorizedOperation", K::unauthorized},
      {"AuthFailure", K::unauthorized},
      {"AccessDenied", K::unauthorized},
      {"AccessDeniedException", K::unauthorized},
      {"OptInRequired", K::unauthorized},
      {"PendingVerification", K::unauthorized},
      {"Blocked", K::unauthorized},
      {"InvalidClientTokenId", K::unauthorized},
      {"InvalidAccessKeyId", K::unauthorized},
      {"UnrecognizedClientException", K::unauthorized},
      {"MissingAuthenticationToken", K::unauthorized},
      {"IncompleteSignature", K::unauthorized},
      {"SignatureDoesNotMatch", K::unauthorized},
      {"InvalidSignatureException", K::unauthorized},
      {"ExpiredToken", K::unauthorized},
      {"ExpiredTokenException", K::unauthorized},
      {"RequestExpired", K::unauthorized},
      {"RequestTimeTooSkewed", K::unauthorized},
      {"InternalError", K::transient},
      {"InternalFailure", K::transient},
      {"InternalServerError", K::transient},
      {"ServiceUnavailable", K::transient},
      {"Unavailable", K::transient},
      {"RequestResourceCountExceeded", K::invalid},
      {"InvalidUserID.Malformed", K::invalid},
      {"ParameterNotFound", K::not_found},
      {"DependencyViolation", K::invalid},
  };
  return kinds;
}

std::string next_of(FailureKind kind, const std::string& code, const std::string& action) {
  if (code == "OptInRequired") return "enable EC2, or this region, for the account in Amazon's console";
  if (code == "PendingVerification" || code == "Blocked")
    return "wait for Amazon's mail, or ask Amazon's support";
  if (code == "ExpiredToken" || code == "ExpiredTokenException") return "get new credentials: aws sso login";
  if (is_clock_skew(code)) return "set this machine's clock";
  if (code == "UnauthorizedOperation" || code.starts_with("AccessDenied"))
    return "give these credentials the right ec2:" + action + " in IAM";
  if (code == "VPCIdNotSpecified" || code == "DefaultVpcDoesNotExist")
    return "type: aws ec2 create-default-vpc, or name one with --network vpc-…";
  if (code.starts_with("InvalidAMIID")) return "give a machine image of this region, or none";
  if (code == "InvalidParameterValue" && action == "RunInstances")
    return "check size, machine image and disk size";
  switch (kind) {
    case FailureKind::capacity:
      return "try another region or size, or wait";
    case FailureKind::quota:
      return "ask for more in Amazon's Service Quotas, or use fewer or smaller machines";
    case FailureKind::throttled:
      return "too many calls from this account: wait, and type it again";
    case FailureKind::price:
      return "raise MaxPrice, or leave it out to pay up to the on-demand price";
    case FailureKind::unauthorized:
      return "check the access key and its secret: aws sts get-caller-identity";
    case FailureKind::transient:
      return "wait, and type it again";
    default:
      return "";
  }
}

}  // namespace

bool is_clock_skew(const std::string& code) {
  return code == "RequestExpired" || code == "RequestTimeTooSkewed" || code == "RequestInTheFuture";
}

bool another_zone_may_do(const Ec2Error& error) {
  return error.kind() == FailureKind::capacity || error.kind() == FailureKind::price;
}

bool another_size_may_do(const Ec2Error& error) {
  return another_zone_may_do(error) ||
         (error.kind() == FailureKind::quota && error.code() != "VolumeLimitExceeded");
}

FailureKind kind_of_aws(const std::string& code, int status) {
  auto it = table().find(code);
  if (it != table().end()) return it->second;
  if (code.starts_with("InvalidAMIID")) return FailureKind::invalid;
  if (code.find(".NotFound") != std::string::npos) return FailureKind::not_found;
  if (status >= 500 || is_transient_status(status)) return FailureKind::transient;
  if (code.empty() && (status == 401 || status == 403)) return FailureKind::unauthorized;
  return FailureKind::invalid;
}

Ec2Error ec2_error(const std::string& doing, const std::string& action, const AwsFailure& failure,
                   int status) {
  FailureKind kind = kind_of_aws(failure.code, status);
  std::string what = failure.code.empty()      ? fmt::format("status {}", status)
                     : failure.message.empty() ? failure.code
                                               : fmt::format("{} [{}]", failure.message, failure.code);
  return {kind, failure.code, next_of(kind, failure.code, action), fmt::format("{}: {}", doing, what)};
}

}  // namespace rayctl::cloud
