#include "oci/build_owner.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

Owner owner(std::string_view text) {
  return parse_owner(text, "root:x:0:0::/root:/bin/sh\nray:x:1000:100::/home/ray:/bin/bash\n",
                     "root:x:0:\nusers:x:100:ray\n");
}

template <class F>
std::string error_of(F what) {
  try {
    what();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

mode_t file(const char* change, mode_t mode) {
  return ModeChange(change).apply(mode, ModeChange::Target::file);
}
mode_t directory(const char* change, mode_t mode) {
  return ModeChange(change).apply(mode, ModeChange::Target::directory);
}

}  // namespace

TEST_CASE("owners are names of the image or numbers") {
  CHECK(owner("ray") == Owner{1000, 100});
  CHECK(owner("ray:users") == Owner{1000, 100});
  CHECK(owner("ray:0") == Owner{1000, 0});
  CHECK(owner("1000") == Owner{1000, 1000});
  CHECK(owner("7:users") == Owner{7, 100});
  CHECK(owner(":users") == Owner{0, 100});
  CHECK(owner("") == Owner{});
  CHECK(owner("4294967294:1") == Owner{4294967294, 1});
  CHECK(error_of([] { owner("4294967295"); }) == "the user '4294967295' is no number from 0 to 4294967294");
  CHECK(error_of([] { owner("99999999999999999999"); }) ==
        "the user '99999999999999999999' is no number from 0 to 4294967294");
  CHECK(error_of([] { owner("nobody"); }) == "the image has no user 'nobody' in /etc/passwd");
  CHECK(error_of([] { owner("ray:wheel"); }) == "the image has no group 'wheel' in /etc/group");
}

TEST_CASE("modes are octal or symbols") {
  CHECK(file("755", 0600) == 0755);
  CHECK(file("04755", 0) == 04755);
  CHECK(file("u=rwX,go=rX", 0700) == 0755);
  CHECK(file("u=rwX,go=rX", 0600) == 0644);
  CHECK(directory("u=rwX,go=rX", 0600) == 0755);
  CHECK(file("+x", 0644) == 0755);
  CHECK(file("a-w", 0666) == 0444);
  CHECK(file("u+s,g+s", 0755) == 06755);
  CHECK(file("o=", 0777) == 0770);
  CHECK(file("g=u", 0640) == 0660);
  CHECK(file("u=rw,u+x", 0) == 0700);
  CHECK(directory("+t", 0777) == 01777);
  for (const char* bad : {"8", "10000", "77777", "u", "u=q", "z+x", "", "u=rw,"})
    CHECK(error_of([&] { ModeChange change(bad); }).find("is no mode: write octal digits") !=
          std::string::npos);
}
