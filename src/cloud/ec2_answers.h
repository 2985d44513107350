// EC2's XML answers as data ("Amazon EC2 API reference", version 2016-11-15).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cloud/firewall.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

inline constexpr const char* tag_cluster = "rayctl:cluster";
inline constexpr const char* tag_role = "rayctl:role";
inline constexpr const char* tag_keys = "rayctl:keys";  // of all machines of one call (machine_keys.h)

// An error answer, of the Query APIs (EC2, STS) or the JSON ones (SSM).
struct AwsFailure {
  std::string code = {};     // "InsufficientInstanceCapacity"; "" when the body wasn't understood
  std::string message = {};  // without the encoded part that only an administrator can decode
};
AwsFailure parse_aws_failure(std::string_view body);

// One page of a list.
template <class T>
struct Page {
  std::vector<T> items = {};
  std::string next = {};  // "" = the last one
};

// DescribeInstances and RunInstances. Machines that carry no tags of ours have an empty cluster.
Page<Machine> parse_instances(std::string_view xml, const std::string& region);

struct Image {
  std::string id = {}, name = {}, created = {};  // `created` sorts as text
  std::string arch = {};                         // "x86_64", "aarch64"
  std::string root_device = {};                  // "/dev/sda1"
  unsigned disk_gb = 0;                          // the least that the root disk must have
};
std::vector<Image> parse_images(std::string_view xml);

struct Subnet {
  std::string id = {}, vpc = {}, zone = {};
  bool is_default = false;
};
Page<Subnet> parse_subnets(std::string_view xml);

struct Group {
  std::string id = {}, name = {}, vpc = {}, cluster = {};  // `cluster`: by its tag
  std::vector<FirewallRule> rules = {};                    // what it lets in
};
Page<Group> parse_groups(std::string_view xml);

std::vector<std::string> parse_regions(std::string_view xml);
Page<std::string> parse_ids(std::string_view xml, const char* set,
                            const char* element);  // <set><item><element>
std::string parse_text(std::string_view xml,
                       const char* path);  // "/GetCallerIdentityResult/Arn" below the root; "" when missing
std::optional<Size> parse_instance_type(std::string_view xml);  // DescribeInstanceTypes of one
std::string arch_of_amazon(std::string_view name);              // "arm64" -> "aarch64"

}  // namespace rayctl::cloud
