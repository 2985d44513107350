#include "oci/pack.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "oci/decompress.h"
#include "oci/tar_reader.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

// Two layers and an upper directory, owned by whoever runs the tests.
struct Trees {
  TempDir top;
  std::string path(const std::string& name) const { return join(top.path(), name); }
  void file(const std::string& name, const std::string& text = "x", mode_t mode = 0644) {
    make_directories(path(name.substr(0, name.rfind('/'))));
    replace_file(path(name), text, mode);
  }
  void whiteout(const std::string& name) {
    make_directories(path(name.substr(0, name.rfind('/'))));
    REQUIRE(mknod(path(name).c_str(), S_IFCHR, makedev(0, 0)) == 0);
  }
  MergedView below() {
    make_directories(path("l1"));
    make_directories(path("l2"));
    return MergedView({path("l1"), path("l2")});
  }
  std::vector<std::string> changes() {
    MergedView view = below();
    Fd upper = open_directory(path("up"));
    std::vector<std::string> shown;
    for (const Change& c : find_changes(upper.get(), view)) {
      static constexpr const char* kinds = "-dfsLDp";
      shown.push_back(std::string(1, kinds[static_cast<int>(c.kind)]) + " " + c.path +
                      (c.link.empty() ? "" : " " + c.link));
    }
    return shown;
  }
};

using Lines = std::vector<std::string>;

std::string bytes(size_t size, unsigned seed) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((seed = seed * 1103515245 + 12345) >> 20);
  return text;
}

std::string compressed(Compression how, unsigned threads, std::string_view plain, size_t piece) {
  std::string out;
  Compressor compressor(
      how, [&](Bytes b) { out += as_text(b); }, threads);
  for (size_t i = 0; i < plain.size(); i += piece) compressor.write(as_bytes(plain.substr(i, piece)));
  compressor.finish();
  return out;
}

}  // namespace

TEST_CASE("a view merges layers: whiteouts hide, links resolve within") {
  Trees t;
  t.file("l1/a/one");
  t.file("l1/a/two");
  t.file("l1/gone/x");
  t.file("l2/a/three");
  t.whiteout("l2/a/two");
  t.whiteout("l2/gone");
  REQUIRE(symlink("../../a", t.path("l2/a/up").c_str()) == 0);
  REQUIRE(symlink("/a/one", t.path("l2/a/abs").c_str()) == 0);
  REQUIRE(symlink("loop", t.path("l2/a/loop").c_str()) == 0);
  MergedView v = t.below();
  CHECK(v.list("/") == Lines{"a"});
  CHECK(v.list("/a") == Lines{"abs", "loop", "one", "three", "up"});
  CHECK(v.find("/a/one"));
  CHECK_FALSE(v.find("/a/two"));
  CHECK_FALSE(v.find("/gone/x"));
  CHECK(v.resolve("/a/up/up/abs", MergedView::Last::follow) == "/a/one");
  CHECK(v.resolve("/a/abs", MergedView::Last::keep) == "/a/abs");
  CHECK(v.resolve("/a/none/../x", MergedView::Last::follow) == "/a/x");
  CHECK(v.read_file("/a/abs", 10) == "x");
  CHECK_THROWS_WITH(v.resolve("/a/loop", MergedView::Last::follow),
                    "cannot resolve '/a/loop': Too many levels of symbolic links");
  auto refuse = [&](const char* p) {
    return v.resolve(p, MergedView::Last::follow, MergedView::Leaving::refuse);
  };
  CHECK_THROWS_WITH(refuse("/a/abs"), "the link '/a/abs' -> '/a/one' leads out of it");
  CHECK_THROWS_WITH(refuse("/a/up/one"), "the link '/a/up' -> '../../a' leads out of it");
}

TEST_CASE("the changes: whiteouts of what was there, no untouched directories, no sockets") {
  Trees t;
  t.file("l1/etc/conf");
  t.file("l1/etc/old");
  t.file("l1/usr/bin/x");
  t.file("l1/d/f");
  t.whiteout("up/etc/old");
  t.whiteout("up/etc/never-was");
  t.file("up/etc/z");
  make_directories(t.path("up/usr/bin"));  // copied up, unchanged
  t.file("up/d");                          // a file where a directory was
  t.file("up/new/one");
  REQUIRE(link(t.path("up/new/one").c_str(), t.path("up/new/two").c_str()) == 0);
  REQUIRE(symlink("/etc", t.path("up/new/link").c_str()) == 0);
  REQUIRE(mkfifo(t.path("up/new/pipe").c_str(), 0600) == 0);
  Fd socket_fd{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::string name = t.path("up/new/sock");
  if (name.size() < sizeof address.sun_path) {
    name.copy(address.sun_path, name.size());
    REQUIRE(bind(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  CHECK(t.changes() == Lines{"f d", "d etc", "- etc/old", "f etc/z", "d new", "s new/link /etc", "f new/one",
                             "p new/pipe", "L new/two new/one"});
  chmod(t.path("up/usr/bin").c_str(), 0700);
  CHECK(t.changes().back() == "d usr/bin");
}

TEST_CASE("a file that looks like a whiteout can't be packed") {
  Trees t;
  t.file("up/a/.wh.x");
  CHECK_THROWS_WITH(t.changes(),
                    "cannot pack '/a/.wh.x': names that begin with .wh. mark deletions in a layer");
}

TEST_CASE("tar headers hold every name, size and attribute") {
  std::string out;
  TarWriter tar([&](Bytes b) { out += as_text(b); }, 1000);
  Change c{Change::Kind::file, std::string(120, 'a') + "/" + std::string(90, 'b')};
  c.info.st_mode = S_IFREG | 04755;
  c.info.st_uid = 3000000;
  c.info.st_gid = 100;
  c.info.st_mtim.tv_sec = 5000;
  c.attributes = {{"security.capability", std::string("\1\0\2", 3)}, {"user.x", "y"}};
  tar.header(c);
  std::string very_long = std::string(200, 'c') + "/" + std::string(200, 'd');
  Change link{Change::Kind::symlink, very_long};
  link.link = std::string(300, 'e');
  link.info.st_mtim.tv_sec = 500;
  tar.header(link);
  tar.header({Change::Kind::whiteout, "x/gone"});
  tar.finish();
  CHECK(out.size() % 512 == 0);

  TarReader reader(read_from(std::string_view(out)));
  TarEntry e;
  REQUIRE(reader.next(e));
  CHECK(e.path == c.path);
  CHECK(e.mode == 04755);
  CHECK(e.uid == 3000000);
  CHECK(e.mtime == 1000);  // clamped
  CHECK(e.xattrs.at("security.capability") == std::string("\1\0\2", 3));
  REQUIRE(reader.next(e));
  CHECK(e.path == very_long);
  CHECK(e.link == link.link);
  CHECK(e.mtime == 500);
  REQUIRE(reader.next(e));
  CHECK(e.path == "x/.wh.gone");
  CHECK_FALSE(reader.next(e));
}

TEST_CASE("compressed bytes depend neither on threads nor on how the stream is cut") {
  std::string plain = bytes(3 * Compressor::block_size / 2, 1) + std::string(Compressor::block_size, 'z');
  for (Compression how : {Compression::zstd, Compression::gzip, Compression::none}) {
    std::string one = compressed(how, 1, plain, 100000);
    CHECK(one == compressed(how, 3, plain, 4096 * 37));
    std::string back;
    copy(decompress(read_from(std::string_view(one)), {.ratio = 100000}),
         [&](Bytes b) { back += as_text(b); });
    CHECK(back == plain);
    CHECK(compressed(how, 2, "", 1).size() < 40);
    std::string noise = bytes(Compressor::block_size, 3);
    CHECK(compressed(how, 1, noise, 1 << 20).size() < noise.size() + (1 << 16));
  }
  CHECK_THROWS_WITH(
      [] {
        Compressor failing(
            Compression::zstd, [](Bytes) { throw Error("no space"); }, 2);
        failing.write(as_bytes("x"));
        failing.finish();
      }(),
      "no space");
}

TEST_CASE("the same tree gives the same layer, whatever the times beyond the epoch") {
  auto pack = [](int64_t mtime, Compression how) {
    Trees t;
    t.file("up/d/a", bytes(100000, 7));
    t.file("up/d/b", "");
    for (const char* name : {"up/d/a", "up/d/b", "up/d", "up"}) {
      timespec times[2] = {{mtime, 77}, {mtime, 77}};
      utimensat(AT_FDCWD, t.path(name).c_str(), times, 0);
    }
    Store store(t.path("store"));
    MergedView below = t.below();
    Fd upper = open_directory(t.path("up"));
    auto layer = pack_layer(store, upper.get(), below, {.compression = how, .latest_mtime = 1'000'000'000});
    REQUIRE(layer);
    CHECK(layer->entries == 3);
    CHECK(store.has(layer->blob));
    Descriptor other = recompress(store, layer->blob, layer->diff_id,
                                  how == Compression::gzip ? Compression::zstd : Compression::gzip);
    CHECK(store.has(other));
    return std::pair(layer->diff_id, std::pair(layer->blob.digest, other.digest));
  };
  auto first = pack(1'700'000'000, Compression::zstd), second = pack(1'800'000'000, Compression::gzip);
  CHECK(first.first == second.first);
  CHECK(first.second.first == second.second.second);
  CHECK(first.second.second == second.second.first);
  CHECK(pack(900'000'000, Compression::zstd).first != first.first);
}

TEST_CASE("no change is no layer, and a refused file leaves no blob") {
  Trees t;
  make_directories(t.path("up"));
  Store store(t.path("store"));
  MergedView below = t.below();
  Fd upper = open_directory(t.path("up"));
  CHECK_FALSE(pack_layer(store, upper.get(), below, {}));
  t.file("up/x");
  CHECK_THROWS_WITH(
      pack_layer(store, upper.get(), below, {.inspect = [](auto&, Bytes, bool) { throw Error("no"); }}),
      "no");
  CHECK(store.blobs().empty());
}
