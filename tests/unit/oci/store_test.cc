#include "oci/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

Descriptor blob_of(std::string_view bytes) {
  return {.media_type = "t", .digest = Digest::of(bytes), .size = bytes.size()};
}

// An image of one layer, tagged.
Image add_image(Store& store, const std::string& name, const std::string& content) {
  ImageConfig config{.platform = host_platform()};
  config.cmd = {content};
  config.diff_ids = {Digest::of(content)};
  Manifest manifest;
  manifest.layers = {store.put(content, media::oci_layer)};
  manifest.config = store.put(to_json(config), media::oci_config);
  Descriptor descriptor = store.put(to_json(manifest), media::oci_manifest);
  store.tag(name, descriptor);
  return {descriptor, manifest, config};
}

std::string contents(const Store& store, const Descriptor& blob) {
  return read_fd(store.open(blob).get(), "blob");
}

}  // namespace

TEST_CASE("a store is an OCI image layout") {
  TempDir dir;
  Store store(join(dir.path(), "s"));
  CHECK(read_file(join(dir.path(), "s/oci-layout")) == R"({"imageLayoutVersion":"1.0.0"})");
  Descriptor blob = store.put("hello", "t");
  CHECK(read_file(join(dir.path(), "s/blobs/" + blob.digest.path())) == "hello");
  CHECK(store.has(blob));
  CHECK(store.read(blob) == "hello");
  CHECK(store.blobs() == std::vector<Digest>{blob.digest});
}

TEST_CASE("a blob is verified before it is there") {
  TempDir dir;
  Store store(dir.path());
  Descriptor blob = blob_of("hello");
  CHECK_THROWS_WITH(store.put(blob, "hellO"), Catch::Contains("is damaged"));
  auto writer = store.write_known(blob);
  writer->write(as_bytes("hellO"));
  CHECK_THROWS_WITH(writer->commit(), Catch::Contains("is damaged: its digest is sha256:"));
  CHECK(writer->size() == 0);
  writer->write(as_bytes("hel"));
  CHECK_THROWS_WITH(writer->verify(), Catch::Contains("ends after 3 of 5 bytes"));
  writer->restart();
  CHECK_THROWS_WITH(writer->write(as_bytes("hello!")), Catch::Contains("longer than the 5 bytes"));
  CHECK_FALSE(store.has(blob));
  writer->write(as_bytes("hello"));
  writer->commit();
  CHECK(contents(store, blob) == "hello");
  CHECK_FALSE(store.write_known(blob));
}

TEST_CASE("an interrupted blob goes on where it ended") {
  TempDir dir;
  Store store(dir.path());
  Descriptor blob = blob_of("hello world");
  { store.write_known(blob)->write(as_bytes("hello ")); }
  auto writer = store.write_known(blob);
  CHECK(writer->size() == 6);
  std::string seen;
  writer->replay([&](Bytes bytes) { seen += as_text(bytes); });
  CHECK(seen == "hello ");
  writer->write(as_bytes("world"));
  writer->commit();
  CHECK(contents(store, blob) == "hello world");
  CHECK(list_directory(join(dir.path(), "partial")).empty());
}

TEST_CASE("a damaged part is thrown away, and a new blob leaves nothing behind") {
  TempDir dir;
  Store store(dir.path());
  Descriptor blob = blob_of("hello world");
  { store.write_known(blob)->write(as_bytes("jello ")); }
  {
    auto writer = store.write_known(blob);
    writer->write(as_bytes("world"));
    CHECK_THROWS_WITH(writer->commit(), Catch::Contains("is damaged"));
  }
  { store.write_new().write(as_bytes("x")); }
  CHECK(list_directory(join(dir.path(), "partial")).empty());
  BlobWriter writer = store.write_new();
  writer.write(as_bytes("x"));
  CHECK(writer.commit("t") == Descriptor{.media_type = "t", .digest = Digest::of("x"), .size = 1});
}

TEST_CASE("names are added, moved and removed") {
  TempDir dir;
  Store store(dir.path());
  Image one = add_image(store, "docker.io/library/x:1", "one");
  Image two = add_image(store, "docker.io/library/x:2", "two");
  CHECK(store.tags().size() == 2);
  CHECK(store.resolve("x:1").digest() == one.digest());
  store.tag("docker.io/library/x:1", two.descriptor);
  CHECK(store.resolve("x:1").digest() == two.digest());
  CHECK(store.tags().size() == 2);
  CHECK(store.untag("docker.io/library/x:1"));
  CHECK_FALSE(store.untag("docker.io/library/x:1"));
  CHECK(Store(dir.path()).tags().size() == 1);
}

TEST_CASE("an image is found by name, digest, id and prefix") {
  TempDir dir;
  Store store(dir.path());
  Image image = add_image(store, "localhost/a/b:1", "one");
  for (std::string text :
       {std::string("localhost/a/b:1"), image.digest().string(), image.id().string(), image.id().hex(),
        image.id().short_hex(), image.digest().short_hex(), "other@" + image.digest().string()}) {
    INFO(text);
    CHECK(store.resolve(text).digest() == image.digest());
  }
  CHECK(store.resolve("localhost/a/b:1").config.cmd == std::vector<std::string>{"one"});
  CHECK_THROWS_WITH(store.resolve("localhost/a/b:2"),
                    Catch::Contains("cannot find image 'localhost/a/b:2'") && Catch::Contains("rayctl pull"));
  CHECK_THROWS_WITH(store.resolve(image.id().hex().substr(0, 3)), Catch::Contains("cannot find image"));
  CHECK_THROWS_WITH(store.resolve("Wrong Name"), Catch::Contains("rayctl images lists what is there"));
}

TEST_CASE("a prefix of two images is refused") {
  TempDir dir;
  Store store(dir.path());
  std::string prefix;
  for (int i = 0; prefix.empty() && i < 3000; ++i) {
    Descriptor d = blob_of(std::to_string(i));
    for (const Tag& tag : store.tags())
      if (tag.descriptor.digest.hex().substr(0, 4) == d.digest.hex().substr(0, 4))
        prefix = d.digest.hex().substr(0, 4);
    if (i < 40 || !prefix.empty()) store.tag("localhost/x:" + std::to_string(i), d);
  }
  REQUIRE_FALSE(prefix.empty());
  CHECK_THROWS_WITH(store.locate(prefix), Catch::Contains("cannot tell which image"));
}

TEST_CASE("an index gives the image of this machine") {
  TempDir dir;
  Store store(dir.path());
  Image image = add_image(store, "localhost/one:1", "one");
  Descriptor mine = image.descriptor;
  mine.platform = host_platform();
  Descriptor other = mine;
  other.digest = Digest::of("absent");
  other.platform->architecture = "s390x";
  Index index{.manifests = {other, mine}};
  store.tag("localhost/multi:1", store.put(to_json(index), media::oci_index));
  CHECK(store.resolve("localhost/multi:1").digest() == image.digest());
}

TEST_CASE("a damaged or missing blob is named") {
  TempDir dir;
  Store store(dir.path());
  Image image = add_image(store, "localhost/x:1", "one");
  replace_file(store.blob_path(image.id()), std::string(image.manifest.config.size, 'x'));
  CHECK_THROWS_WITH(store.resolve("localhost/x:1"), Catch::Contains("is damaged: its digest is"));
  store.remove_blob(image.id());
  CHECK_THROWS_WITH(store.resolve("localhost/x:1"), Catch::Contains("pull the image again"));
}

TEST_CASE("holds are kept and released") {
  TempDir dir;
  Store store(dir.path());
  store.hold("build-1", {.blobs = {Digest::of("a")}, .chains = {Digest::of("b")}});
  REQUIRE(store.holds().size() == 1);
  CHECK(store.holds()[0].blobs == std::vector<Digest>{Digest::of("a")});
  CHECK(store.holds()[0].chains == std::vector<Digest>{Digest::of("b")});
  CHECK_THROWS(store.hold("../x", {}));
  store.release("build-1");
  CHECK(store.holds().empty());
}

TEST_CASE("a store in use is not cleaned") {
  TempDir dir;
  Store store(dir.path());
  {
    StoreLock lock = store.use();
    CHECK_FALSE(store.try_clean());
    StoreLock second = store.use();
  }
  CHECK(store.try_clean());
}

TEST_CASE("old parts are removed, fresh ones and those in work are kept") {
  TempDir dir;
  Store store(dir.path());
  Descriptor old = blob_of("old"), fresh = blob_of("fresh");
  { store.write_known(old)->write(as_bytes("o")); }
  { store.write_known(fresh)->write(as_bytes("f")); }
  std::string path = join(dir.path(), "partial/sha256-" + old.digest.hex());
  timespec times[2] = {{1000, 0}, {1000, 0}};
  utimensat(AT_FDCWD, path.c_str(), times, 0);
  BlobWriter working = store.write_new();
  store.remove_old_partials();
  CHECK(list_directory(join(dir.path(), "partial")).size() == 2);
  CHECK_FALSE(exists(path));
}
