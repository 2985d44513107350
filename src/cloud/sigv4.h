// Amazon's request signature, version 4 ("Signature Version 4 signing process" of the IAM user guide).
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/http.h"

namespace rayctl::cloud {

struct AwsCredentials {
  std::string access_key = {};
  std::string secret_key = {};
  std::string session_token = {};                                     // of temporary ones
  std::optional<std::chrono::system_clock::time_point> expires = {};  // empty = they don't
  std::string source = {};                                            // where they came from, for messages
};

// What is signed, and for what.
struct SignedCall {
  std::string method = "POST";
  std::string url = {};
  HttpHeaders headers = {};  // all of them are signed, and Host
  std::string body = {};
  std::string region = {};
  std::string service = {};  // "ec2"
};

// `call.headers` and those that sign it: X-Amz-Date, X-Amz-Security-Token, Authorization.
HttpHeaders signed_headers(const SignedCall& call, const AwsCredentials& credentials,
                           std::chrono::system_clock::time_point now);

// The URL that lets whoever has it do `method` on an object of S3 for `time` (at most a week), without
// credentials.
std::string presigned_url(const std::string& method, const std::string& url, const std::string& region,
                          const AwsCredentials& credentials, std::chrono::system_clock::time_point now,
                          std::chrono::seconds time);

}  // namespace rayctl::cloud
