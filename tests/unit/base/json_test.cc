#include "base/json.h"

#include <catch2/catch.hpp>
#include <functional>

#include "base/error.h"

using namespace rayctl;

namespace {

std::string error_of(std::string_view text, const std::function<void(const Json&)>& use) {
  try {
    use(Json::parse(text, "doc"));
  } catch (const Error& e) {
    return e.message();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a member is found by key and errors name the path") {
  Json doc = Json::parse(R"({"a":[{"size":7}],"n":null})", "doc");
  CHECK(doc.at("a").items()[0].at("size").size() == 7);
  CHECK_FALSE(doc.has("n"));
  CHECK(error_of(R"({"a":[{}]})", [](const Json& d) { d.at("a").items()[0].at("size"); }) ==
        "doc.a[0].size: missing");
}

TEST_CASE("a negative number is not a size") {
  CHECK(error_of(R"({"size":-1})", [](const Json& d) { d.at("size").size(); }) ==
        "doc.size: expected a whole number >= 0, found number");
  CHECK(error_of(R"({"size":1.5})", [](const Json& d) { d.at("size").integer(); }) ==
        "doc.size: expected a whole number, found number");
  CHECK(error_of(R"({"size":18446744073709551615})", [](const Json& d) { d.at("size").integer(); }) ==
        "doc.size: 18446744073709551615 is too large");
}

TEST_CASE("documents that hide something are refused") {
  auto nothing = [](const Json&) {};
  CHECK(error_of(R"({"a":1,"a":2})", nothing) == "cannot parse 'doc': key 'a' appears twice");
  CHECK(error_of(std::string(100, '[') + std::string(100, ']'), nothing) ==
        "cannot parse 'doc': nested deeper than 64 levels");
  CHECK(error_of("{} {}", nothing).starts_with("cannot parse 'doc': parse error at line 1"));
  CHECK(error_of("\"\xff\"", nothing).starts_with("cannot parse 'doc': "));
}

TEST_CASE("unknown keys are named") {
  CHECK(error_of(R"({"imge":"x"})", [](const Json& d) { d.only({"image"}); }) == "doc: unknown key 'imge'");
}

TEST_CASE("a number beyond a double is an error of the document", "[json]") {
  CHECK_THROWS_WITH(Json::parse("[4E622]", "x"), Catch::StartsWith("cannot parse 'x': number overflow"));
}
