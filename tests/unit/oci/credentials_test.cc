#include "oci/credentials.h"

#include <catch2/catch.hpp>

#include "base/base64.h"
#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

std::string user_of(std::string_view text, const std::string& registry, std::string_view repository = "") {
  auto login = find_login(text, "config.json", registry, repository);
  return login ? login->credentials.username + login->helper : "none";
}

std::string entry(const std::string& user) {
  return fmt::format(R"({{"auth":"{}"}})", to_base64(user + ":p"));
}

}  // namespace

TEST_CASE("a login is found under the names that tools use") {
  CHECK(user_of(R"({"auths":{"reg.test:5000":)" + entry("u") + "}}", "reg.test:5000") == "u");
  CHECK(user_of(R"({"auths":{"https://reg.test/v1/":)" + entry("u") + "}}", "reg.test") == "u");
  CHECK(user_of(R"({"auths":{"https://index.docker.io/v1/":)" + entry("hub") + "}}", "docker.io") == "hub");
  CHECK(user_of(R"({"auths":{"reg.test":)" + entry("u") + "}}", "other.test") == "none");
  CHECK(user_of("{}", "reg.test") == "none");
  CHECK(user_of("", "reg.test") == "none");
}

TEST_CASE("the longest name wins (containers-auth.json)") {
  std::string text = fmt::format(R"({{"auths":{{"r.test":{},"r.test/a":{},"r.test/a/b":{}}}}})", entry("all"),
                                 entry("a"), entry("ab"));
  CHECK(user_of(text, "r.test", "a/b") == "ab");
  CHECK(user_of(text, "r.test", "a/c") == "a");
  CHECK(user_of(text, "r.test", "x") == "all");
  CHECK(user_of(text, "r.test", "ab") == "all");
}

TEST_CASE("helpers come first") {
  std::string text = fmt::format(
      R"({{"auths":{{"r.test":{}}},"credsStore":"store","credHelpers":{{"h.test":"ecr"}}}})", entry("u"));
  CHECK(user_of(text, "h.test") == "ecr");
  CHECK(user_of(text, "r.test") == "store");
  auto login = find_login(text, "f", "docker.io", "");
  CHECK(login->server == "https://index.docker.io/v1/");
}

TEST_CASE("tokens in place of passwords; passwords may hold colons") {
  auto login =
      find_login(R"({"auths":{"r.test":{"identitytoken":"i","registrytoken":"b"}}})", "f", "r.test", "");
  CHECK(login->credentials.identity_token == "i");
  CHECK(login->credentials.registry_token == "b");
  login = find_login(R"({"auths":{"r.test":{"auth":")" + to_base64("u:p:q") + "\"}}}", "f", "r.test", "");
  CHECK(login->credentials.password == "p:q");
  login = find_login(R"({"auths":{"r.test":{"username":"u","password":"p"}}})", "f", "r.test", "");
  CHECK(login->credentials.username == "u");
}

TEST_CASE("a wrong file is named with the place") {
  CHECK_THROWS_WITH(
      find_login(R"({"auths":{"r.test":{"auth":"%%%"}}})", "~/.docker/config.json", "r.test", ""),
      Catch::Contains("~/.docker/config.json.auths.r.test.auth: not base64"));
  CHECK_THROWS_WITH(find_login("nonsense", "f", "r.test", ""), Catch::Contains("cannot parse 'f'"));
}

TEST_CASE("logins are added and removed; the rest of the file stays") {
  std::string text = with_login(R"({"auths":{"x":{"auth":"YTpi"}},"psFormat":"t"})", "f", "r.test",
                                {.username = "u", .password = "p"});
  CHECK(text.find("psFormat") != std::string::npos);
  CHECK(user_of(text, "r.test") == "u");
  CHECK(user_of(text, "x") == "a");
  auto left = without_login(text, "f", "r.test");
  REQUIRE(left);
  CHECK(user_of(*left, "r.test") == "none");
  CHECK(user_of(*left, "x") == "a");
  CHECK_FALSE(without_login(*left, "f", "r.test"));
  CHECK(with_login("", "f", "docker.io", {.username = "u", .password = "p"}).find("index.docker.io/v1") !=
        std::string::npos);
  CHECK_THROWS(with_login("[]", "f", "r.test", {}));
}
