// What a machine can run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::oci {

// image-spec, image-index.md, "platform".
struct Platform {
  std::string os = {};
  std::string architecture = {};  // GOARCH: amd64, arm64
  std::string variant = {};       // "v8" of arm64, "v2" to "v4" of amd64
  std::string os_version = {};
  std::vector<std::string> os_features = {};

  bool operator==(const Platform&) const = default;
};

Platform host_platform();                        // linux and this processor, with its amd64 level
Platform parse_platform(std::string_view text);  // "linux/amd64", "linux/arm/v7", "arm64"
std::string to_string(const Platform& platform);

// 0 = can't run it; else the higher the better: the exact variant first, then the nearest lower one.
int fitness(const Platform& machine, const Platform& image);

}  // namespace rayctl::oci
