#include "base/version.h"

#include <algorithm>
#include <catch2/catch.hpp>

TEST_CASE("every linked library has a name and a version that starts with a digit", "[base]") {
  const auto libraries = rayctl::linked_libraries();
  CHECK(libraries.size() >= 15);
  for (const auto& [name, version] : libraries) {
    INFO(name << " " << version);
    CHECK(!name.empty());
    REQUIRE(!version.empty());
    CHECK(std::isdigit(static_cast<unsigned char>(version[0])));
  }
}

TEST_CASE("the version of rayctl is three numbers", "[base]") {
  const std::string version(rayctl::version());
  CHECK(std::count(version.begin(), version.end(), '.') == 2);
}
