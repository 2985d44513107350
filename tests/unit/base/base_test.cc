#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

using namespace rayctl;
using namespace std::chrono_literals;

TEST_CASE("check names the object and the reason") {
  try {
    open_file("/nope/x", O_RDONLY);
    FAIL("opened");
  } catch (SysError& e) {
    e.prefix("pulling {}", "a/b:1");
    CHECK(e.message() == "pulling a/b:1: cannot open '/nope/x': No such file or directory");
    CHECK(e.code() == ENOENT);
  }
}

TEST_CASE("a file is replaced whole, with its mode, and leaves nothing beside it") {
  TempDir dir;
  std::string path = join(dir.path(), "f");
  replace_file(path, "one");
  replace_file(path, "two", 0600);
  CHECK(read_file(path) == "two");
  CHECK((status(path)->st_mode & 0777) == 0600);
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"f"});
  CHECK_THROWS_WITH(read_file(path, 2), Catch::Contains("it is larger than 2 bytes"));
}

TEST_CASE("a path is resolved as if the directory were the root") {
  TempDir dir;
  make_directories(join(dir.path(), "etc/deep"));
  replace_file(join(dir.path(), "etc/passwd"), "inside");
  REQUIRE(symlink("/etc", join(dir.path(), "abs").c_str()) == 0);
  REQUIRE(symlink("../../../../etc", join(dir.path(), "up").c_str()) == 0);
  Fd root = open_directory(dir.path());
  for (const char* path : {"abs/passwd", "up/passwd", "/etc/passwd", "../../etc/deep/../passwd"})
    CHECK(read_fd(open_in_root_checked(root.get(), path, O_RDONLY).get(), path) == "inside");
  CHECK_FALSE(open_in_root(root.get(), "none", O_RDONLY));
}

TEST_CASE("remove_tree removes links, not what they point to") {
  TempDir dir, other;
  replace_file(join(other.path(), "keep"), "x");
  make_directories(join(dir.path(), "t/a/b"));
  REQUIRE(symlink(other.path().c_str(), join(dir.path(), "t/link").c_str()) == 0);
  remove_tree(join(dir.path(), "t"));
  remove_tree(join(dir.path(), "t"));
  CHECK_FALSE(exists(join(dir.path(), "t")));
  CHECK(exists(join(other.path(), "keep")));
}

TEST_CASE("a lock is held once") {
  TempDir dir;
  std::string path = join(dir.path(), "lock");
  {
    FileLock held(path, LockKind::exclusive);
    CHECK_FALSE(FileLock::try_lock(path, LockKind::shared));
  }
  CHECK(FileLock::try_lock(path, LockKind::shared));
}

TEST_CASE("a child's streams and exit are told") {
  Output result = run_captured({.argv = {"sh", "-c", "cat; echo no >&2; exit 3"}}, "in");
  CHECK(result.out == "in");
  CHECK(result.err == "no\n");
  CHECK(describe(result.exit) == "exit code 3");
  CHECK_THROWS_WITH(Child::spawn({.argv = {"/no/such/bin"}}),
                    "cannot run '/no/such/bin': No such file or directory");
}

TEST_CASE("output over the limit is dropped, not waited for") {
  Output result = run_captured({.argv = {"sh", "-c", "head -c 1000000 /dev/zero"}}, {}, 10);
  CHECK(result.out.size() == 10);
  CHECK(result.exit.success());
}

TEST_CASE("a child that ignores TERM is killed after the grace") {
  Child child =
      Child::spawn({.argv = {"sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done"}, .out = -1});
  CHECK_FALSE(child.wait_for(100ms));
  CHECK(describe(child.stop(50ms)) == "killed by signal 9 (Killed)");
}

TEST_CASE("a child gets only the descriptors it was given") {
  Pipe pipe = make_pipe();
  Output result = run_captured({.argv = {"sh", "-c", "ls /proc/self/fd"}, .fds = {{pipe.write.get(), 3}}});
  CHECK(result.out == "0\n1\n2\n3\n4\n");  // 4 is ls's own
}

TEST_CASE("sizes and durations read well") {
  CHECK(human_size(0) == "0 B");
  CHECK(human_size(999) == "999 B");
  CHECK(human_size(1500) == "1.50 kB");
  CHECK(human_size(999'999) == "1.00 MB");
  CHECK(human_size(874'000'000) == "874 MB");
  CHECK(human_duration(420ms) == "0.42s");
  CHECK(human_duration(72s) == "1m 12s");
  CHECK(printable("a\033[31mb\n") == "a\\x1b[31mb\\x0a");
}
