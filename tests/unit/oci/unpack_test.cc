#include "oci/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "unit/oci/tar_maker.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

const UnpackOptions as_user{.ownership = Ownership::keep};

// victim/ lies beside the root: nothing in it may ever change.
struct Tree {
  TempDir dir;
  std::string root = join(dir.path(), "root"), victim = join(dir.path(), "victim");
  Unpacked result = {};

  Tree() {
    make_directories(root);
    make_directories(victim);
    replace_file(join(victim, "f"), "safe", 0600);
  }
  ~Tree() {
    CHECK(list_directory(victim) == std::vector<std::string>{"f"});
    CHECK(read_file(join(victim, "f")) == "safe");
    CHECK((status(join(victim, "f"))->st_mode & 07777) == 0600);
    CHECK(status(join(victim, "f"))->st_nlink == 1);
    CHECK(list_directory(dir.path()) == std::vector<std::string>{"root", "victim"});
  }
  Tree& add(const TarMaker& tar, const UnpackOptions& options = as_user) {
    std::string bytes = tar.finish();
    TarReader reader(read_from(bytes));
    Fd fd = open_directory(root);
    result = unpack(reader, fd.get(), options);
    return *this;
  }
  std::string at(const std::string& path) const { return join(root, path); }
  std::string text(const std::string& path) const { return read_file(at(path)); }
  mode_t mode(const std::string& path) const { return status(at(path))->st_mode; }
  bool is_whiteout(const std::string& path) const {
    auto info = status(at(path));
    return info && S_ISCHR(info->st_mode) && info->st_rdev == makedev(0, 0);
  }
  bool is_opaque(const std::string& path) const {
    char value = 0;
    return getxattr(at(path).c_str(), "user.overlay.opaque", &value, 1) == 1 && value == 'y';
  }
};

}  // namespace

TEST_CASE("files, directories, links, modes and times come out as they went in") {
  Tree tree;
  tree.add(TarMaker()
               .directory("d/", 0751)
               .add({.path = "d/f", .data = "hello", .mode = 04755, .mtime = 1'234'567'890})
               .symlink("d/s", "../d/f")
               .hardlink("h", "d/f")
               .file("d/" + std::string(120, 'n'), "long")
               .add({.path = "x",
                     .data = "pax",
                     .pax = {{"path", "\xc3\xa4/\xff name"}, {"mtime", "1500000000.25"}}})
               .add({.path = "fifo", .type = '6'})
               .file("empty", ""));
  CHECK(tree.text("d/f") == "hello");
  CHECK(tree.mode("d/f") == (S_IFREG | 04755));
  CHECK(status(tree.at("d/f"))->st_mtime == 1'234'567'890);
  CHECK(tree.mode("d") == (S_IFDIR | 0751));
  CHECK(status(tree.at("d"))->st_mtime == 1'000'000'000);
  CHECK(status(tree.at("h"))->st_nlink == 2);
  CHECK(tree.text("d/" + std::string(120, 'n')) == "long");
  CHECK(tree.text("\xc3\xa4/\xff name") == "pax");
  CHECK(status(tree.at("\xc3\xa4/\xff name"))->st_mtim.tv_nsec == 250'000'000);
  CHECK(S_ISFIFO(tree.mode("fifo")));
  CHECK(tree.text("empty").empty());
  CHECK(tree.result.entries == 8);
  CHECK(tree.result.bytes == 12);
  CHECK(tree.result.implied == std::vector<std::string>{"\xc3\xa4"});
}

TEST_CASE("an empty archive is an empty layer") {
  Tree tree;
  CHECK(tree.add(TarMaker()).result.entries == 0);
}

TEST_CASE("names that climb end inside the root (zip slip)") {
  Tree tree;
  tree.add(TarMaker().file("../a").file("/../b").file("c/../../d").file("/e").file("./f").file("g/./h"));
  for (const char* name : {"a", "b", "d", "e", "f", "g/h"}) CHECK(tree.text(name) == "x");
}

TEST_CASE("a symlinked parent leads nowhere outside") {
  Tree tree;
  std::string victim = tree.victim;
  tree.add(TarMaker()
               .symlink("abs", victim)
               .symlink("up", "../victim")
               .symlink("far", "../../../../../../../../../.." + victim)
               .file("abs/f", "evil")
               .file("up/f", "evil")
               .file("far/f", "evil")
               .file("abs/.wh.f")
               .file("up/.wh.f")
               .file("up/.wh..wh..opq")
               .hardlink("abs/g", "f")
               .directory("abs/d"));
  CHECK(tree.text("victim/f") == "evil");
}

TEST_CASE("the root itself is never replaced (CVE-2021-29136)") {
  for (const char* name : {"/.", ".", "./", "/", "x/.."}) {
    Tree tree;
    INFO(name);
    CHECK_THROWS_WITH(tree.add(TarMaker().symlink(name, "/tmp")),
                      Catch::Contains("the root of a layer must be a directory"));
  }
  Tree tree;
  tree.add(TarMaker().directory("./", 0711));
  CHECK(tree.mode("") == (S_IFDIR | 0711));
}

TEST_CASE("hard links stay inside, and never follow a symlink (CVE-2021-32760)") {
  Tree tree;
  std::string f = join(tree.victim, "f");
  tree.add(TarMaker().symlink("s", f).add({.path = "h", .type = '1', .link = "s", .mode = 0777}));
  CHECK(S_ISLNK(tree.mode("h")));
  tree.add(TarMaker().hardlink("out1", f).hardlink("out2", "../victim/f").hardlink("out3", "missing"));
  REQUIRE(tree.result.links.size() == 3);
  CHECK(tree.result.links[1].target == "victim/f");
  CHECK_FALSE(exists(tree.at("out1")));
  CHECK_THROWS_WITH(tree.add(TarMaker().directory("d").hardlink("x", "d")),
                    Catch::Contains("leads to the directory 'd'"));
  CHECK_THROWS_WITH(tree.add(TarMaker().hardlink("x", "..")), Catch::Contains("leads to no file"));
  CHECK_THROWS_WITH(tree.add(TarMaker().file("x").hardlink("x", "x")), Catch::Contains("leads to itself"));
}

TEST_CASE("a name may change its kind") {
  Tree tree;
  tree.add(TarMaker().symlink("a", "/etc").directory("b").file("b/c/d").file("e").symlink("g", "b"));
  tree.add(
      TarMaker().file("a", "file").symlink("b", "e").directory("e").file("e/f").directory("g").file("g/x"));
  CHECK(tree.text("a") == "file");
  CHECK(S_ISLNK(tree.mode("b")));
  CHECK(tree.text("e/f") == "x");
  CHECK(tree.text("g/x") == "x");
  tree.add(TarMaker().file("p/q/1").symlink("p/q", "/").file("p/q/2"));
  CHECK(tree.text("2") == "x");
}

TEST_CASE("whiteouts hide what is below and nothing of their own layer") {
  Tree tree;
  tree.add(TarMaker()
               .file("d/.wh.gone")
               .file("kept")
               .file(".wh.kept")  // after its sibling
               .file(".wh.later")
               .file("later")  // before it
               .directory("dir")
               .file("dir/f")
               .file(".wh.dir")
               .file(".wh.redone")
               .directory("redone")
               .file(".wh.implied")
               .file("implied/f"));
  CHECK(tree.is_whiteout("d/gone"));
  CHECK(tree.text("kept") == "x");
  CHECK(tree.text("later") == "x");
  CHECK(tree.text("dir/f") == "x");
  CHECK(tree.is_opaque("dir"));
  CHECK(tree.is_opaque("redone"));
  CHECK(tree.is_opaque("implied"));
  CHECK(tree.text("implied/f") == "x");
  CHECK_FALSE(tree.is_opaque("d"));
}

TEST_CASE("an opaque mark counts in any order") {
  Tree tree;
  tree.add(TarMaker()
               .file("a/f")
               .file("a/.wh..wh..opq")
               .file("a/g")
               .file("b/.wh..wh..opq")
               .file("b/f")
               .directory("b"));
  CHECK(tree.is_opaque("a"));
  CHECK(tree.text("a/f") == "x");
  CHECK(tree.text("a/g") == "x");
  CHECK(tree.is_opaque("b"));
  CHECK(tree.text("b/f") == "x");
  CHECK(tree.result.implied == std::vector<std::string>{"a"});
  CHECK(tree.add(TarMaker().file(".wh..wh..opq")).result.opaque_root);
}

TEST_CASE("odd whiteouts never remove a root or a parent") {
  for (const char* name : {".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh...", "a/.wh."}) {
    Tree tree;
    INFO(name);
    CHECK_THROWS_WITH(tree.add(TarMaker().file("a/f").file(name)),
                      Catch::Contains("the whiteout names no file"));
    CHECK(tree.text("a/f") == "x");
  }
  Tree tree;
  tree.add(TarMaker()
               .file(".wh..wh.aufs")
               .directory(".wh..wh.plnk")
               .file(".wh..wh.plnk/1.2")
               .file(".wh..wh.orph/x"));
  CHECK(list_directory(tree.root).empty());
  CHECK_THROWS_WITH(tree.add(TarMaker().file(".wh.a/b")), Catch::Contains("below a whiteout"));
}

TEST_CASE("a layer can't forge overlayfs's marks") {
  Tree tree;
  tree.add(TarMaker()
               .add({.path = "c", .type = '3'})
               .add({.path = "d/",
                     .type = '5',
                     .pax = {{"SCHILY.xattr.user.overlay.opaque", "y"},
                             {"SCHILY.xattr.trusted.overlay.opaque", "y"},
                             {"SCHILY.xattr.user.fine", "1"}}}));
  CHECK_FALSE(exists(tree.at("c")));
  CHECK_FALSE(tree.is_opaque("d"));
  char value[8];
  if (ssize_t n = getxattr(tree.at("d").c_str(), "user.fine", value, sizeof value); n >= 0) CHECK(n == 1);
}

TEST_CASE("an archive's own names are kept when it is no layer") {
  Tree tree;
  tree.add(TarMaker().file(".wh.x").file("d/.wh..wh..opq"),
           {.ownership = Ownership::keep, .whiteouts = Whiteouts::none});
  CHECK(tree.text(".wh.x") == "x");
  CHECK(tree.text("d/.wh..wh..opq") == "x");
}

TEST_CASE("bounds on entries, bytes and paths") {
  Tree tree;
  TarMaker many;
  for (int i = 0; i < 11; ++i) many.file("f" + std::to_string(i), std::string(100, 'x'));
  CHECK_THROWS_WITH(tree.add(many, {.ownership = Ownership::keep, .most_entries = 10}),
                    Catch::Contains("more than 10 entries"));
  CHECK_THROWS_WITH(tree.add(many, {.ownership = Ownership::keep, .most_bytes = 1000}),
                    Catch::Contains("more than 1000 bytes"));
  CHECK_THROWS_WITH(tree.add(TarMaker().file(std::string(300, 'a'))),
                    Catch::Contains("longer than 255 bytes"));
  std::string deep;
  for (int i = 0; i < 1500; ++i) deep += "a/";
  CHECK_THROWS_WITH(tree.add(TarMaker().file(deep + "f")), Catch::Contains("more than 400 parts"));
  CHECK_THROWS_WITH(tree.add(TarMaker().file(deep + deep + "f")), Catch::Contains("longer than 4095 bytes"));
  CHECK_THROWS_WITH(tree.add(TarMaker().symlink("l1", "l2").symlink("l2", "l1").file("l1/f")),
                    Catch::Contains("Too many levels of symbolic links"));
}

TEST_CASE("sparse files keep their holes") {
  // pax 1.0: the map (one piece of 3 bytes at 100000, real size 200000) stands before the data
  std::string map = "1\n100000\n3\n";
  map.resize(512, '\0');
  Tree tree;
  tree.add(TarMaker().add({.path = "GNUSparseFile.0/s",
                           .data = map + "abc",
                           .pax = {{"GNU.sparse.major", "1"},
                                   {"GNU.sparse.minor", "0"},
                                   {"GNU.sparse.name", "s"},
                                   {"GNU.sparse.realsize", "200000"}}}));
  std::string text = tree.text("s");
  REQUIRE(text.size() == 200000);
  CHECK(text.substr(100000, 3) == "abc");
  CHECK(text.find_first_not_of('\0') == 100000);
}

TEST_CASE("a damaged archive is an error") {
  std::string bytes = TarMaker().file("f", std::string(2000, 'x')).finish();
  for (size_t cut : {size_t{100}, size_t{700}, size_t{1200}}) {
    Tree tree;
    INFO(cut);
    auto read_cut = [&] {
      TarReader reader(read_from(std::string_view(bytes).substr(0, cut)));
      Fd fd = open_directory(tree.root);
      unpack(reader, fd.get(), as_user);
    };
    CHECK_THROWS_WITH(read_cut(), Catch::Contains("tar: "));
  }
  bytes[148] = '9';
  CHECK_THROWS_WITH(TarReader(read_from(bytes)), Catch::Contains("tar: "));
}

TEST_CASE("an error of the source comes through unchanged") {
  Source broken = [](std::span<std::byte>) -> size_t { throw Error("the network is gone"); };
  CHECK_THROWS_WITH(TarReader(broken), "the network is gone");
}
