#include "oci/pull.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/crew.h"
#include "oci/layer_merge.h"
#include "oci/layer_pipeline.h"
#include "oci/piecewise.h"

namespace rayctl::oci {

namespace {

constexpr int deepest_index = 4;
constexpr uint64_t unpacked_factor = 2;  // a layer unpacks to at least this much, as a rule

// Commits layers bottom first: each may need what is below it.
class Committer {
 public:
  Committer(Layers& layers, const ImageConfig& config)
      : layers_(layers),
        config_(config),
        chains_(chain_ids(config)),
        ready_(chains_.size()),
        done_(chains_.size()) {
    for (size_t i = 0; i < chains_.size(); ++i) done_[i] = layers_.has(chains_[i]);
  }

  bool done(size_t i) const { return done_[i]; }

  void add(size_t i, UnpackedLayer layer) {
    std::lock_guard lock(mutex_);
    ready_[i].emplace(std::move(layer));
    for (; next_ < chains_.size() && (done_[next_] || ready_[next_]); ++next_)
      if (!done_[next_]) commit(next_);
  }

 private:
  void commit(size_t i) {
    UnpackedLayer& layer = *ready_[i];
    if (!layer.unpacked.implied.empty() || !layer.unpacked.links.empty()) {
      ImageConfig below{
          .diff_ids = {config_.diff_ids.begin(), config_.diff_ids.begin() + static_cast<ptrdiff_t>(i)}};
      Fd root = open_directory(layer.draft.path());
      MergedView view(layers_.lowerdirs(below));
      finish_layer(layer.unpacked, root.get(), view);
    }
    layer.draft.commit({.chain = chains_[i],
                        .diff_id = config_.diff_ids[i],
                        .size = layer.unpacked.bytes,
                        .entries = layer.unpacked.entries,
                        .opaque_root = layer.unpacked.opaque_root});
    ready_[i].reset();
    done_[i] = true;
  }

  Layers& layers_;
  const ImageConfig& config_;
  std::vector<Digest> chains_;
  std::mutex mutex_;
  std::vector<std::optional<UnpackedLayer>> ready_;
  std::vector<std::atomic<bool>> done_;
  size_t next_ = 0;
};

Image fetch_documents(ImageSource& source, const std::string& version, Store& store,
                      const Platform& platform) {
  Registry::Fetched fetched = source.manifest(version);
  for (int depth = 0;; ++depth) {
    Document document = parse_document(fetched.bytes, fetched.descriptor.media_type);
    if (auto* index = std::get_if<Index>(&document)) {
      if (depth == deepest_index) throw Error("the index is nested deeper than {} levels", deepest_index);
      Descriptor chosen = choose(*index, platform);
      fetched = source.manifest(chosen.digest.string());
      if (fetched.bytes.size() != chosen.size)
        throw Error("manifest {} has {} bytes instead of {}", chosen.digest.string(), fetched.bytes.size(),
                    chosen.size);
      continue;
    }
    Image image{.descriptor = fetched.descriptor, .manifest = std::get<Manifest>(std::move(document))};
    image.descriptor.annotations.clear();
    image.descriptor.platform.reset();
    const Descriptor& config = image.manifest.config;
    if (!media::is_config(config.media_type))
      throw Error("it is not a container image: its config is of type '{}'", printable(config.media_type));
    if (config.size > largest_document)
      throw Error("the config has {} bytes, more than {}", config.size, largest_document);
    if (!store.has(config)) {
      std::string bytes;
      source.blob(config, 0, 1, [&](Bytes b) { bytes += as_text(b); });
      store.put(config, bytes);
    }
    image.config = parse_config(store.read(config));
    validate(image);
    store.put(image.descriptor, fetched.bytes);
    return image;
  }
}

void check_space(const std::string& directory, uint64_t needed) {
  struct statvfs space;
  if (statvfs(directory.c_str(), &space) < 0) return;
  uint64_t free = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
  if (free >= needed) return;
  Error error("cannot pull into '{}': about {} are needed and {} are free", directory, human_size(needed),
              human_size(free));
  error.hint("rayctl rmi removes images; --state-dir names another place");
  throw error;
}

void fetch_layers(ImageSource& source, Store& store, Layers* layers, const Image& image,
                  const PullOptions& options) {
  const auto& blobs = image.manifest.layers;
  std::optional<Committer> committer;
  if (layers) committer.emplace(*layers, image.config);

  std::vector<size_t> order;
  uint64_t needed = 0, total = 0;
  std::atomic<uint64_t> done = 0;
  for (size_t i = 0; i < blobs.size(); ++i) {
    bool fetch = !store.has(blobs[i]), unpack = layers && !committer->done(i);
    if (fetch && media::is_foreign(blobs[i].media_type))
      throw Error("layer {} is not in the registry: it is of type '{}'", blobs[i].digest.string(),
                  printable(blobs[i].media_type));
    if (fetch || unpack) {
      order.push_back(i);
      total += blobs[i].size;
    }
    needed += (fetch ? blobs[i].size : 0) + (unpack ? blobs[i].size * unpacked_factor : 0);
  }
  if (order.empty()) return;
  check_space(store.directory(), needed);
  // the largest first: it is the one that the others end before
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blobs[a].size > blobs[b].size; });

  run_crew(options.parallel, order, options.cancel, [&](size_t i) {
    bool unpack = layers && !committer->done(i), fetch = !store.has(blobs[i]);
    unsigned streams = streams_for(blobs[i].size, total, options.parallel, default_piecewise_plan());
    Activity activity(fmt::format("layer {}", blobs[i].digest.short_hex()), blobs[i].size);
    LayerJob job{.blob = blobs[i],
                 .diff_id = image.config.diff_ids[i],
                 .fetch =
                     [&](uint64_t offset, const Sink& take) {
                       source.blob(blobs[i], offset, streams, [&](Bytes bytes) {
                         if (options.cancel && *options.cancel) throw Interrupted();
                         take(bytes);
                       });
                     },
                 .advance =
                     [&](uint64_t amount) {
                       activity.advance(amount);
                       done += amount;
                       if (options.progress) options.progress(done, total);
                     }};
    if (unpack)
      committer->add(i, fetch_and_unpack_layer(store, *layers, job));
    else
      fetch_layer(store, job);
    activity.finish(fetch ? "pulled in" : "unpacked in");
  });
}

}  // namespace

Image pull(ImageSource& source, const std::string& version, Store& store, Layers* layers,
           const PullOptions& options) {
  Image image = fetch_documents(source, version, store, options.platform);
  fetch_layers(source, store, layers, image, options);
  return image;
}

void ensure_unpacked(Store& store, Layers& layers, const Image& image) {
  validate(image);
  auto source = source_from(store);
  fetch_layers(*source, store, &layers, image, {});
}

std::vector<std::string> layer_directories(Store& store, Layers& layers, const Image& image) {
  ensure_unpacked(store, layers, image);
  return layers.lowerdirs(image.config);
}

}  // namespace rayctl::oci
