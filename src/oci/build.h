// The builder: from a Dockerfile and a context to an image in the store.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/child.h"
#include "base/io.h"
#include "oci/build_graph.h"
#include "oci/build_owner.h"
#include "oci/cache.h"
#include "oci/compress.h"
#include "oci/ignore.h"
#include "oci/layers.h"
#include "oci/store.h"

namespace rayctl::oci {

// What a step sees beside its root, in the order of mounting. Targets are absolute in the step.
struct StepMount {
  enum class Kind { bind, tmpfs, file };
  enum class Access { read, write };
  Kind kind = Kind::bind;
  std::string target;
  std::string source = {};  // bind: a path of the host
  Access access = Access::read;
  uint64_t size = 0;         // tmpfs: bytes; 0 = the kernel's default
  std::string content = {};  // file: kept in memory until the step ends
  mode_t mode = 0444;
  Owner owner = {};
};

// One RUN: a process in an overlay of these directories.
struct RunStep {
  std::vector<std::string> lowerdirs;    // bottom first
  std::vector<std::string> extra_lower;  // on top of them, read-only, in no layer: the CA bundle
  std::string upper, work;
  std::vector<std::string> argv, env;
  std::string cwd;
  std::string user;     // as the image's configuration says: "", "ray", "1000:100"
  std::string network;  // default, none, host
  std::vector<StepMount> mounts = {};
  Sink output = {};  // both streams, as they come
};

// Runs the step to its end. Throws when it can't be started, or Interrupted.
using StepRunner = std::function<Exit(const RunStep&)>;

// Finds or pulls an image by name, with every layer unpacked.
using ImageFinder = std::function<Image(const std::string& name)>;

enum class Reuse { cache, nothing };

struct BuildRequest {
  Dockerfile dockerfile = {};
  std::string context = {};  // directory
  IgnoreList ignore = {};
  Variables build_args = {};
  std::optional<std::string> target = {};
  Compression compression = Compression::zstd;
  Reuse reuse = Reuse::cache;
  std::string network = "default";  // of RUNs that name none
  std::optional<int64_t> epoch =
      {};  // SOURCE_DATE_EPOCH: seconds; every time in the image is this or earlier
  std::vector<std::string> proxy_env = {};          // "HTTP_PROXY=…": for RUN alone, recorded nowhere
  std::string ca_bundle = {};                       // PEM; the same
  std::map<std::string, std::string> secrets = {};  // for RUN --mount=type=secret, by id
  std::set<std::string> optional_args = {};         // build arguments that nobody need consume
};

struct BuildServices {
  Store& store;
  Layers& layers;
  std::string state_dir;
  ImageFinder find_image;
  StepRunner run;
  std::function<void()> poll;  // throws to stop the build
};

struct BuiltImage {
  Image image;
  size_t steps = 0, cached = 0;  // those that make layers
  Hold used = {};                // the layers of all stages: what the next build of the same will want
};

// Under which name the store keeps `used` for an image of this (full) name.
std::string build_hold(const std::string& name);

// Nothing is tagged. An error leaves finished layers in the cache, and no image. Hold store.use() meanwhile.
BuiltImage build(const BuildRequest& request, const BuildServices& services);

// "2026-11-24T10:00:00Z"
std::string rfc3339(int64_t seconds);

}  // namespace rayctl::oci
