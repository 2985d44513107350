#include "run/user.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

const char* passwd =
    "# "
    "users\nroot:x:0:0:root:/root:/bin/bash\nray:x:1000:100::/home/ray:/bin/bash\n42:x:7:7::/:\nbad:x:1x:1::/"
    ":\n"
    "short:x:5\nhuge:x:4294967296:0::/:\nlast:x:9:9::/last:";
const char* group =
    "root:x:0:\nusers:x:100:\nvideo:x:44:ray,other\naudio:x:29:other,ray\ndup:x:44:ray\n42:x:8:\n";

ResolvedUser resolve(std::string_view user) {
  return resolve_user(user, passwd, group);
}

}  // namespace

TEST_CASE("users of an image are resolved as docker does") {
  CHECK(resolve("").uid == 0);
  CHECK(resolve("").home == "/root");
  ResolvedUser ray = resolve("ray");
  CHECK(ray.uid == 1000);
  CHECK(ray.gid == 100);
  CHECK(ray.home == "/home/ray");
  CHECK(ray.additional_gids == std::vector<uint32_t>{44, 29});
  CHECK(resolve("1000").gid == 100);
  CHECK(resolve("1000").name == "ray");
  CHECK(resolve("1001").gid == 0);
  CHECK(resolve("1001").home == "/");
  CHECK(resolve("ray:video").gid == 44);
  CHECK(resolve("ray:video").additional_gids.empty());
  CHECK(resolve("5:6").gid == 6);
  CHECK(resolve(":users").gid == 100);
  CHECK(resolve("last").uid == 9);
}

TEST_CASE("a number is a number, whole and in range (CVE-2016-3697, CVE-2024-40635)") {
  CHECK(resolve("42").uid == 42);  // though a user is called so
  CHECK(resolve("4294967294").uid == 4294967294u);
  for (const char* user : {"4294967295", "4294967296", "99999999999999999999999"})
    CHECK_THROWS_WITH(resolve(user), Catch::Contains("is more than 4294967294"));
  for (const char* user : {"1000x", "-1", "0x0", " 0", "bad", "huge", "short", "nobody"})
    CHECK_THROWS_WITH(resolve(user), Catch::Contains("/etc/passwd has no user"));
  CHECK_THROWS_WITH(resolve("ray:nosuch"),
                    "cannot use user 'ray:nosuch': the image's /etc/group has no group 'nosuch'");
  CHECK_THROWS_WITH(resolve("ray:"), Catch::Contains("the group is empty"));
}

TEST_CASE("passwd is read beneath the root, and of layers the topmost counts") {
  TempDir dir;
  std::string a = join(dir.path(), "a"), b = join(dir.path(), "b"), c = join(dir.path(), "c");
  for (const std::string& layer : {a, b, c}) make_directories(join(layer, "etc"));
  replace_file(join(a, "etc/passwd"), "ray:x:1:1::/one:\n");
  replace_file(join(b, "etc/passwd"), "ray:x:2:2::/two:\n");
  CHECK(resolve_user_in_layers("ray", {a, b, c}).uid == 2);
  CHECK(resolve_user_in_layers("ray", {b, a, c}).uid == 1);
  CHECK(symlink("/etc/passwd", join(c, "etc/passwd").c_str()) == 0);  // to itself, within the root
  Fd root = open_directory(c);
  CHECK_THROWS_WITH(resolve_user_in_root("ray", root.get()), Catch::Contains("Too many levels"));
  REQUIRE(unlink(join(c, "etc/passwd").c_str()) == 0);
  REQUIRE(mkfifo(join(c, "etc/passwd").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(resolve_user_in_root("ray", root.get()), Catch::Contains("it is no regular file"));
}
