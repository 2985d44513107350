#include "ray/copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::ray;

namespace {

void copy_tree(const std::string& from, const std::string& to) {
  TempDir scratch;
  std::string here = absolute(".");
  std::string archive = join(scratch.path(), "a.tar");
  copy_send(from, CopyLink::keep, open_file(archive, O_WRONLY | O_CREAT).get());
  Fd in = open_file(archive, O_RDONLY);
  try {
    copy_receive(to, CopyOwner::receiver, in.get());
  } catch (...) {
    check(chdir(here.c_str()), "cannot go back");
    throw;
  }
  check(chdir(here.c_str()), "cannot go back");
}

}  // namespace

TEST_CASE("docker's rules say where a copy goes") {
  using Kind = CopyKind;
  auto plan = [](const char* top, Kind source, const char* dest, Kind kind, Kind parent) {
    CopyPlan p = plan_copy(top, source, dest, kind, parent);
    return p.directory + "|" + p.from + "|" + p.to;
  };
  CHECK(plan("a", Kind::directory, "/d", Kind::directory, Kind::directory) == "/d|a|a");
  CHECK(plan("a", Kind::directory, "/d/new", Kind::missing, Kind::directory) == "/d|a|new");
  CHECK(plan(".", Kind::directory, "new", Kind::missing, Kind::directory) == ".|.|new");
  CHECK(plan("f", Kind::file, "/d/g", Kind::file, Kind::directory) == "/d|f|g");
  CHECK_THROWS_WITH(plan("a", Kind::directory, "/d/f", Kind::file, Kind::directory),
                    "cannot copy a directory onto '/d/f': it is a file");
  CHECK_THROWS_WITH(plan("f", Kind::file, "/d/new/", Kind::missing, Kind::directory),
                    "cannot copy to '/d/new/': no such directory");
  CHECK_THROWS_WITH(plan("f", Kind::file, "/no/x", Kind::missing, Kind::missing),
                    "cannot copy to '/no/x': its directory doesn't exist");
}

TEST_CASE("a tree arrives with its links, modes and contents") {
  TempDir dir;
  std::string source = join(dir.path(), "source"), dest = join(dir.path(), "dest");
  make_directories(join(source, "sub"));
  replace_file(join(source, "sub/f"), std::string(300000, 'x'), 0750);
  REQUIRE(link(join(source, "sub/f").c_str(), join(source, "hard").c_str()) == 0);
  REQUIRE(symlink("sub/f", join(source, "soft").c_str()) == 0);
  replace_file(join(source, "na\xc3\xafve"), "1");
  make_directories(dest);
  copy_tree(source, dest);
  CHECK(read_file(join(dest, "source/sub/f")).size() == 300000);
  CHECK((status(join(dest, "source/sub/f"))->st_mode & 07777) == 0750);
  CHECK(status(join(dest, "source/hard"))->st_ino == status(join(dest, "source/sub/f"))->st_ino);
  CHECK(S_ISLNK(status(join(dest, "source/soft"))->st_mode));
  CHECK(exists(join(dest, "source/na\xc3\xafve")));
  copy_tree(source, join(dest, "renamed"));
  CHECK(exists(join(dest, "renamed/sub/f")));
  copy_tree(source + "/.", join(dest, "content"));
  CHECK(exists(join(dest, "content/soft")));
  copy_tree(source + "/.", dest);
  CHECK(exists(join(dest, "sub/f")));
  copy_tree(join(source, "sub/f"), join(dest, "single"));
  CHECK(read_file(join(dest, "single")).size() == 300000);
}

TEST_CASE("a stream can't leave its destination") {
  TempDir dir;
  std::string evil = join(dir.path(), "evil"), dest = join(dir.path(), "dest"),
              victim = join(dir.path(), "victim");
  make_directories(join(evil, "a"));
  make_directories(dest);
  make_directories(victim);
  REQUIRE(symlink(victim.c_str(), join(evil, "a/link").c_str()) == 0);
  auto receive = [&](const std::string& script) {
    Output made = run_captured({.argv = {"sh", "-ec", script}, .cwd = dir.path()});
    INFO(made.err);
    REQUIRE(made.exit.success());
    std::string here = absolute(".");
    Fd in = open_file(join(dir.path(), "t"), O_RDONLY);
    std::string error;
    try {
      copy_receive(dest, CopyOwner::receiver, in.get());
    } catch (const Error& e) {
      error = e.message();
    }
    check(chdir(here.c_str()), "cannot go back");
    remove_tree(join(dir.path(), "t"));
    return error;
  };
  // Through the link that it made itself: the link gives way to a directory.
  receive(
      "cd evil; tar cf ../t a/link; mkdir -p x/a/link; echo x >x/a/link/escaped; tar rf ../t -C x "
      "a/link/escaped");
  CHECK(list_directory(victim).empty());
  CHECK(receive("cd evil; echo x >up; tar cPf ../t --transform 's,^,a/../../,' up").find("cannot write") ==
        0);
  CHECK_FALSE(exists(join(dir.path(), "up")));
}
