#include "oci/layers.h"

#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

Digest add(Layers& layers, const Digest& parent, const std::string& name, bool opaque_root = false) {
  Digest diff_id = Digest::of(name), chain = chain_id(parent, diff_id);
  LayerDraft draft = layers.draft();
  replace_file(join(draft.path(), name), name);
  draft.commit({.chain = chain, .diff_id = diff_id, .size = 1, .entries = 2, .opaque_root = opaque_root});
  return chain;
}

}  // namespace

TEST_CASE("layers are listed bottom first, by short names too") {
  TempDir dir;
  Layers layers(dir.path());
  ImageConfig config{.diff_ids = {Digest::of("a"), Digest::of("b")}};
  CHECK_THROWS_WITH(layers.lowerdirs(config), Catch::Contains("layer 1 of 2 of the image is not unpacked"));
  Digest a = add(layers, {}, "a"), b = add(layers, a, "b");
  CHECK(layers.lowerdirs(config) == std::vector<std::string>{layers.path(a), layers.path(b)});
  auto names = layers.short_lowerdirs(config);
  REQUIRE(names.size() == 2);
  CHECK(names[0].size() < 20);
  CHECK(read_file(join(layers.directory(), names[1] + "/b")) == "b");
  CHECK(layers.short_lowerdirs(config) == names);
  CHECK(layers.find(a)->entries == 2);
  CHECK((status(layers.directory())->st_mode & 0777) == 0700);
}

TEST_CASE("an opaque root hides the layers below it") {
  TempDir dir;
  Layers layers(dir.path());
  Digest a = add(layers, {}, "a"), b = add(layers, a, "b", true), c = add(layers, b, "c");
  ImageConfig config{.diff_ids = {Digest::of("a"), Digest::of("b"), Digest::of("c")}};
  CHECK(layers.lowerdirs(config) == std::vector<std::string>{layers.path(b), layers.path(c)});
}

TEST_CASE("the first of two equal layers stays") {
  TempDir dir;
  Layers layers(dir.path());
  Digest a = add(layers, {}, "a");
  replace_file(join(layers.path(a), "mark"), "first");
  add(layers, {}, "a");
  CHECK(read_file(join(layers.path(a), "mark")) == "first");
  CHECK(list_directory(layers.directory()).size() == 2);
}

TEST_CASE("a layer of an earlier boot counts only when it was synced") {
  TempDir dir;
  Layers layers(dir.path());
  Digest a = add(layers, {}, "a"), b = add(layers, {}, "b");
  for (const Digest& d : {a, b}) {
    std::string path = join(layers.directory(), d.hex() + "/layer.json");
    std::string text = read_file(path);
    size_t at = text.find("\"boot\":\"") + 8;
    if (d == a) layers.sync();
    replace_file(path, text.replace(at, 36, "00000000-0000-0000-0000-000000000000"));
  }
  CHECK(layers.has(a));
  unlink(join(layers.directory(), b.hex() + "/synced").c_str());
  CHECK_FALSE(layers.has(b));
  layers.sync();
  CHECK_FALSE(layers.has(b));
  add(layers, {}, "b");
  CHECK(layers.has(b));
}

TEST_CASE("layers are removed with their names, and what was left by others too") {
  TempDir dir;
  Layers layers(dir.path());
  Digest a = add(layers, {}, "a");
  ImageConfig config{.diff_ids = {Digest::of("a")}};
  layers.short_lowerdirs(config);
  layers.remove(a);
  CHECK(layers.list().empty());
  CHECK(list_directory(join(layers.directory(), "l")).empty());
  make_directories(join(layers.directory(), "new-0123/fs"));
  LayerDraft working = layers.draft();
  layers.remove_stale();
  CHECK_FALSE(exists(join(layers.directory(), "new-0123")));
  CHECK(exists(working.path()));
}
