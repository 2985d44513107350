#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace rayctl {

/// One library inside the binary, by the version that it reports itself.
struct Library {
  std::string name, version;
};

/// Version of rayctl, from the Makefile.
std::string_view version();

/// Every library that is linked, in alphabetical order.
std::vector<Library> linked_libraries();

}  // namespace rayctl
