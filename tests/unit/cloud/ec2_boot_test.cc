#include <algorithm>
#include <catch2/catch.hpp>

#include "base/file.h"
#include "cloud/ec2.h"

using namespace rayctl;
using namespace rayctl::cloud;

namespace {

MachineWant want(const std::string& key) {
  return {.key = key,
          .cluster = "ray",
          .role = "worker",
          .region = "us-east-1",
          .sizes = {"m5.large"},
          .user_data = "u"};
}

std::string lines(const AwsParameters& parameters) {
  std::string text;
  for (const auto& [key, value] : parameters) text += key + "=" + value + "\n";
  return text;
}

}  // namespace

TEST_CASE("wants that differ only by key share calls of at most fifty") {
  std::vector<MachineWant> wants;
  for (int i = 1; i <= 120; ++i) wants.push_back(want("m-" + std::to_string(i)));
  wants[5].disk_gb = 100;
  auto parts = batches(wants);
  REQUIRE(parts.size() == 4);
  CHECK(parts[0].size() == 50);
  CHECK(parts[1] == std::vector<size_t>{5});
  CHECK(parts[3].size() == 19);
  // keys that have nothing in common don't all fit into one tag
  std::vector<MachineWant> odd;
  for (int i = 0; i < 20; ++i) odd.push_back(want(std::string(30, static_cast<char>('a' + i))));
  for (const auto& part : batches(odd)) CHECK(part.size() <= 8);
}

TEST_CASE("a RunInstances call is as planned") {
  MachineWant spot = want("m-1");
  spot.spot = true;
  spot.max_price = 0.05;
  spot.labels = {{"team", "a"}};
  RunPlan plan{.want = spot,
               .keys = {"m-1", "m-2"},
               .size = "m5.large",
               .subnet = {.id = "subnet-1"},
               .group = "sg-1",
               .image = {.id = "ami-1", .root_device = "/dev/xvda", .disk_gb = 8},
               .count = RunPlan::Count::some};
  std::string text = lines(run_parameters(plan)), path = "tests/golden/cloud/run_instances.txt";
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(text == read_file(path));
}

TEST_CASE("the client token is that of the keys and the place, not of what else is asked") {
  auto token = [](RunPlan plan) {
    for (const auto& [key, value] : run_parameters(plan))
      if (key == "ClientToken") return value;
    return std::string();
  };
  RunPlan plan{.want = want("m-1"), .keys = {"m-1"}, .size = "m5.large", .subnet = {.id = "subnet-1"}};
  RunPlan other = plan;
  other.want.user_data = "new token inside";
  CHECK(token(plan).size() == 64);
  CHECK(token(plan) == token(other));
  other.subnet.id = "subnet-2";
  CHECK(token(plan) != token(other));
  other = plan;
  other.keys = {"m-2"};
  CHECK(token(plan) != token(other));
}

TEST_CASE("a cluster tries its zones in its own order") {
  std::vector<Subnet> subnets{{.id = "3", .zone = "c"}, {.id = "1", .zone = "a"}, {.id = "2", .zone = "b"}};
  auto order = [&](const std::string& cluster, const std::string& zone) {
    std::string text;
    for (const Subnet& s : subnets_in_order(subnets, cluster, zone)) text += s.zone;
    return text;
  };
  CHECK(order("ray", "") == order("ray", ""));
  CHECK(order("ray", "b") == "b");
  CHECK(order("ray", "x").empty());
  std::set<std::string> seen;
  for (char c = 'a'; c <= 'z'; ++c) seen.insert(order(std::string(1, c), ""));
  CHECK(seen == std::set<std::string>{"abc", "bca", "cab"});
}
