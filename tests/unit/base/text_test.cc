#include "base/text.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace std::chrono_literals;

TEST_CASE("sizes are read as docker reads them") {
  CHECK(parse_size("100") == 100);
  CHECK(parse_size("1k") == 1024);
  CHECK(parse_size("512M") == (512u << 20));
  CHECK(parse_size("4GiB") == (4ull << 30));
  for (const char* wrong : {"", "M", "-1", "1.5G", "4X", "4Gx", "99999999999999999999", "99999999999999999T"})
    CHECK_THROWS_WITH(parse_size(wrong),
                      Catch::Contains("cannot read '" + std::string(wrong) + "' as a size"));
}

TEST_CASE("times are read in their usual forms") {
  CHECK(parse_duration("90") == 90s);
  CHECK(parse_duration("90s") == 90s);
  CHECK(parse_duration("1h30m") == 90min);
  CHECK(parse_duration("2d") == 48h);
  for (const char* wrong : {"", "h", "1w", "-1s", "1h-"})
    CHECK_THROWS_WITH(parse_duration(wrong), Catch::Contains("as a time"));
}

TEST_CASE("the nearest word is suggested, a far one isn't") {
  CHECK(nearest("exce", {"exec", "ps"}) == "exec");
  CHECK(nearest("pul", {"push", "pull"}) == "pull");
  CHECK(nearest("xyzzy", {"exec", "ps"}).empty());
}

TEST_CASE("text is cut at separators and edges") {
  CHECK(split("a,,b", ',') == std::vector<std::string>{"a", "", "b"});
  CHECK(trim(" \ta b\n") == "a b");
  CHECK(trim(" \n").empty());
}
