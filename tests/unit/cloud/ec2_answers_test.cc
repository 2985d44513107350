#include "cloud/ec2_answers.h"

#include <catch2/catch.hpp>

#include "cloud/ec2_errors.h"

using namespace rayctl::cloud;

TEST_CASE("machines are read from RunInstances and DescribeInstances") {
  const char* item =
      "<item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>"
      "<amiLaunchIndex>1</amiLaunchIndex><instanceType>m5.large</"
      "instanceType><launchTime>2025-01-02T03:04:05.000Z"
      "</launchTime><placement><availabilityZone>us-east-1a</availabilityZone></"
      "placement><privateIpAddress>10.0.0.4"
      "</privateIpAddress><ipAddress>198.51.100.1</ipAddress><instanceLifecycle>spot</instanceLifecycle>"
      "<tagSet><item><key>rayctl:cluster</key><value>a &amp; b</value></item><item><key>rayctl:keys</key>"
      "<value>m-{1..3}</value></item><item><key>rayctl:role</key><value>worker</value></item></tagSet></"
      "item>";
  std::string run =
      std::string("<?xml version=\"1.0\"?><RunInstancesResponse xmlns=\"http://ec2\"><instancesSet>") + item +
      "</instancesSet></RunInstancesResponse>";
  std::string described =
      std::string("<DescribeInstancesResponse><reservationSet><item><instancesSet>") + item +
      "</instancesSet></item></reservationSet><nextToken>n</nextToken></DescribeInstancesResponse>";
  for (const std::string& xml : {run, described}) {
    auto page = parse_instances(xml, "us-east-1");
    REQUIRE(page.items.size() == 1);
    const Machine& m = page.items[0];
    CHECK((m.id == "i-1" && m.key == "m-2" && m.cluster == "a & b" && m.role == "worker" && m.spot));
    CHECK((m.zone == "us-east-1a" && m.size == "m5.large" && m.public_address == "198.51.100.1"));
    CHECK(m.state == MachineState::running);
    CHECK(std::chrono::system_clock::to_time_t(m.launched) == 1735787045);
  }
  CHECK(parse_instances(described, "").next == "n");
  CHECK(parse_instances("<a/>", "").items.empty());
  for (const char* bad : {"", "garbage", "<a><b></a>", "<!DOCTYPE x [<!ENTITY y \"z\">]>"}) {
    CHECK_THROWS_AS(parse_instances(bad, ""), ProviderError);
    CHECK_THROWS_WITH(parse_instances(bad, ""), Catch::StartsWith("cannot understand Amazon's answer"));
  }
}

TEST_CASE("errors are read from XML and JSON, and lose what only an administrator can decode") {
  AwsFailure f = parse_aws_failure(
      "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform "
      "this "
      "operation. User: arn:aws:iam::1:user/x is not … Encoded authorization failure message: "
      "AAAA</Message></Error>"
      "</Errors></Response>");
  CHECK(f.code == "UnauthorizedOperation");
  CHECK(f.message == "You are not authorized to perform this operation");
  CHECK(parse_aws_failure("<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>").code ==
        "Throttling");
  CHECK(parse_aws_failure(R"({"__type":"com.amazon#ParameterNotFound","message":"no"})").code ==
        "ParameterNotFound");
  CHECK(parse_aws_failure("<html>").code.empty());
  CHECK(parse_aws_failure("{").code.empty());
}

TEST_CASE("error codes have a kind and a next step") {
  CHECK(kind_of_aws("InsufficientInstanceCapacity", 500) == FailureKind::capacity);
  CHECK(kind_of_aws("VcpuLimitExceeded", 400) == FailureKind::quota);
  CHECK(kind_of_aws("RequestLimitExceeded", 503) == FailureKind::throttled);
  CHECK(kind_of_aws("SpotMaxPriceTooLow", 400) == FailureKind::price);
  CHECK(kind_of_aws("UnauthorizedOperation", 403) == FailureKind::unauthorized);
  CHECK(kind_of_aws("InvalidInstanceID.NotFound", 400) == FailureKind::not_found);
  CHECK(kind_of_aws("InvalidAMIID.NotFound", 400) == FailureKind::invalid);
  CHECK(kind_of_aws("", 502) == FailureKind::transient);
  CHECK(kind_of_aws("", 403) == FailureKind::unauthorized);
  CHECK(kind_of_aws("SomethingNew", 400) == FailureKind::invalid);
  CHECK(std::string(
            ec2_error("cannot boot a machine in us-east-1", "RunInstances",
                      {.code = "VcpuLimitExceeded", .message = "You have requested more vCPU capacity"}, 400)
                .what()) ==
        "cannot boot a machine in us-east-1: You have requested more vCPU capacity [VcpuLimitExceeded] (ask "
        "for more in "
        "Amazon's Service Quotas, or use fewer or smaller machines)");
  Ec2Error quota = ec2_error("x", "RunInstances", {.code = "VcpuLimitExceeded"}, 400);
  CHECK_FALSE(another_zone_may_do(quota));
  CHECK(another_size_may_do(quota));
}

TEST_CASE("a security group's rules are read as the firewall writes them") {
  auto page = parse_groups(
      "<r><securityGroupInfo><item><groupId>sg-1</groupId><groupName>rayctl-x</groupName><vpcId>v</"
      "vpcId><ipPermissions>"
      "<item><ipProtocol>-1</ipProtocol><groups><item><groupId>sg-1</groupId></item></"
      "groups><ipRanges><item><cidrIp>"
      "203.0.113.7/32</cidrIp></item></ipRanges></item><item><ipProtocol>tcp</ipProtocol><fromPort>80</"
      "fromPort>"
      "<toPort>81</toPort><ipv6Ranges><item><cidrIpv6>::/0</cidrIpv6></item></ipv6Ranges></item></"
      "ipPermissions>"
      "</item></securityGroupInfo></r>");
  REQUIRE(page.items.size() == 1);
  CHECK(page.items[0].rules ==
        std::vector<FirewallRule>{{.protocol = "all", .source = "self"},
                                  {.protocol = "all", .source = "203.0.113.7/32"},
                                  {.protocol = "tcp", .first = 80, .last = 81, .source = "::/0"}});
}
