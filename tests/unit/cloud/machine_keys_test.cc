#include "cloud/machine_keys.h"

#include <catch2/catch.hpp>

using namespace rayctl::cloud;
using Keys = std::vector<std::string>;

TEST_CASE("keys are packed into one tag and come out as they went in") {
  CHECK(pack_keys({"m-7"}) == "m-7");
  CHECK(pack_keys({"m-7", "m-8", "m-9", "m-12"}) == "m-{7..9,12}");
  CHECK(pack_keys({"m-9", "m-10", "m-11"}) == "m-{9..11}");
  CHECK(pack_keys({"m-12", "m-7"}) == "m-{12,7}");  // the order says which is which
  CHECK(pack_keys({"m-007", "m-008"}) == "m-{007,008}");
  CHECK(pack_keys({}).empty());
  for (const Keys& keys :
       {Keys{"m-7"}, Keys{"m-7", "m-8", "m-9", "m-12"}, Keys{"a", "b"}, Keys{"5-7", "5-9"},
        Keys{"m-007", "m-008"}, Keys{"x", "x1", "x2"}, Keys{"1", "2", "3"}, Keys{"3941-7", "3942-8"}})
    CHECK(unpack_keys(pack_keys(keys)) == keys);
  Keys many;
  for (int i = 950; i < 1050; ++i) many.push_back("2f9c-" + std::to_string(i));
  CHECK(pack_keys(many) == "2f9c-{950..1049}");
  CHECK(unpack_keys(pack_keys(many)) == many);
}

TEST_CASE("a tag that somebody else wrote is harmless") {
  CHECK(unpack_keys("").empty());
  CHECK(unpack_keys("a{1..2").empty());
  CHECK(unpack_keys("a{1..999999999999}").empty());
  CHECK(unpack_keys("a{9..1}") == Keys{"a9..1"});
}
