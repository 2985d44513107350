#include "cloud/sigv4.h"

#include <catch2/catch.hpp>

using namespace rayctl;
using namespace rayctl::cloud;

namespace {

const AwsCredentials example{.access_key = "AKIDEXAMPLE",
                             .secret_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"};
const auto noon = std::chrono::system_clock::from_time_t(1440938160);  // 2015-08-30T12:36:00Z

std::string value_of(const HttpHeaders& headers, const std::string& name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return "";
}

}  // namespace

// Expected values: Amazon's own examples.
TEST_CASE("a request is signed as Amazon's documents compute it") {
  CHECK(value_of(signed_headers({.method = "GET",
                                 .url = "https://example.amazonaws.com/",
                                 .region = "us-east-1",
                                 .service = "service"},
                                example, noon),
                 "Authorization") ==
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=host;x-amz-date, "
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  HttpHeaders headers = signed_headers(
      {.method = "GET",
       .url = "https://iam.amazonaws.com/?Version=2010-05-08&Action=ListUsers",  // not in order
       .headers = {{"Content-Type", "application/x-www-form-urlencoded;  charset=utf-8 "}},
       .region = "us-east-1",
       .service = "iam"},
      example, noon);
  CHECK(value_of(headers, "Authorization") ==
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
  CHECK(value_of(headers, "X-Amz-Date") == "20150830T123600Z");
}

TEST_CASE("a session token is sent and signed, the port is part of the host") {
  AwsCredentials temporary = example;
  temporary.session_token = "token";
  HttpHeaders headers = signed_headers(
      {.url = "http://127.0.0.1:5000/", .body = "Action=X", .region = "eu-west-1", .service = "ec2"},
      temporary, noon);
  CHECK(value_of(headers, "X-Amz-Security-Token") == "token");
  CHECK_THAT(value_of(headers, "Authorization"),
             Catch::Contains("SignedHeaders=host;x-amz-date;x-amz-security-token"));
  HttpHeaders other = signed_headers(
      {.url = "http://127.0.0.1:5001/", .body = "Action=X", .region = "eu-west-1", .service = "ec2"},
      temporary, noon);
  CHECK(value_of(headers, "Authorization") != value_of(other, "Authorization"));
}

TEST_CASE("a URL of S3 is signed as Amazon's example") {
  CHECK(presigned_url(
            "GET", "https://examplebucket.s3.amazonaws.com/test.txt", "us-east-1",
            {.access_key = "AKIAIOSFODNN7EXAMPLE", .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
            std::chrono::system_clock::from_time_t(1369353600), std::chrono::hours(24)) ==
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
        "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-"
        "Expires="
        "86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}
