// The disk that tells cloud-init what a machine is: its data source NoCloud, an ISO 9660 image named
// "cidata".
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace rayctl::cloud {

struct SeedFile {
  std::string name;  // lower case, digits, '-': "user-data"
  std::string text;
};

// An image with these files in its only directory (ECMA-119, level 2 but for '-' and lower case, which Linux
// reads as they stand). The same files give the same bytes.
std::string seed_image(const std::vector<SeedFile>& files);

}  // namespace rayctl::cloud
