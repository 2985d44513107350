#include "oci/layer_merge.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "unit/oci/tar_maker.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

struct Stack {
  TempDir dir;
  std::vector<std::string> lower = {};

  std::string add(const TarMaker& tar) {
    std::string root = join(dir.path(), std::to_string(lower.size()));
    make_directories(root);
    std::string bytes = tar.finish();
    TarReader reader(read_from(bytes));
    Fd fd = open_directory(root);
    Unpacked unpacked = unpack(reader, fd.get(), {.ownership = Ownership::keep});
    MergedView below(lower, Ownership::keep);
    finish_layer(unpacked, fd.get(), below, Ownership::keep);
    lower.push_back(root);
    return root;
  }
};

mode_t mode_of(const std::string& path) {
  return status(path)->st_mode & 07777;
}

}  // namespace

TEST_CASE("a parent that the archive doesn't list is like the one below") {
  Stack stack;
  stack.add(TarMaker().directory("tmp", 01777).directory("tmp/a", 0700));
  std::string top = stack.add(TarMaker().file("tmp/a/b/f"));
  CHECK(mode_of(join(top, "tmp")) == 01777);
  CHECK(mode_of(join(top, "tmp/a")) == 0700);
  CHECK(mode_of(join(top, "tmp/a/b")) == 0755);
  CHECK(status(join(top, "tmp"))->st_mtime == 1'000'000'000);
}

TEST_CASE("a file below a symlinked directory goes where the symlink leads") {
  Stack stack;
  stack.add(TarMaker().directory("usr/lib", 0711).symlink("lib", "usr/lib").symlink("abs", "/usr"));
  std::string top =
      stack.add(TarMaker().file("lib/x/f", "1").file("usr/lib/g", "2").file("abs/lib/x/h", "3"));
  CHECK(read_file(join(top, "usr/lib/x/f")) == "1");
  CHECK(read_file(join(top, "usr/lib/g")) == "2");
  CHECK(read_file(join(top, "usr/lib/x/h")) == "3");
  CHECK_FALSE(exists(join(top, "lib")));
  CHECK_FALSE(exists(join(top, "abs")));
  CHECK(mode_of(join(top, "usr/lib")) == 0711);
}

TEST_CASE("a symlink of a layer below never leads out of the layer") {
  Stack stack;
  make_directories(join(stack.dir.path(), "victim"));
  stack.add(TarMaker().symlink("etc", "../victim").symlink("abs", join(stack.dir.path(), "victim")));
  std::string top = stack.add(TarMaker().file("etc/f").file("abs/f"));
  CHECK(list_directory(join(stack.dir.path(), "victim")).empty());
  CHECK(read_file(join(top, "victim/f")) == "x");
}

TEST_CASE("a listed directory replaces the symlink below it") {
  Stack stack;
  stack.add(TarMaker().symlink("lib", "usr/lib"));
  std::string top = stack.add(TarMaker().directory("lib").file("lib/f"));
  CHECK(read_file(join(top, "lib/f")) == "x");
}

TEST_CASE("a hard link to a file of a layer below copies it up") {
  Stack stack;
  stack.add(TarMaker().add({.path = "d/f", .data = "below", .mode = 0640}).symlink("s", "nowhere"));
  std::string top = stack.add(TarMaker().hardlink("h", "d/f").hardlink("e/h2", "/d/f").hardlink("hs", "s"));
  CHECK(read_file(join(top, "h")) == "below");
  CHECK(status(join(top, "h"))->st_nlink == 3);
  CHECK(mode_of(join(top, "d/f")) == 0640);
  CHECK(S_ISLNK(status(join(top, "hs"))->st_mode));
}

TEST_CASE("a hard link to nothing is an error") {
  Stack stack;
  stack.add(TarMaker().file("f").file("d/f").file("g"));
  stack.add(TarMaker().file(".wh.f").file("d/.wh..wh..opq").directory("d"));
  for (const char* target : {"missing", "f", "d/f", "d"})
    CHECK_THROWS_WITH(stack.add(TarMaker().hardlink("h", target)), Catch::Contains("leads to"));
}
