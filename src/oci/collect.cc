#include "oci/collect.h"

#include <sys/stat.h>

#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl::oci {

namespace {

struct Needed {
  std::set<Digest> blobs = {}, chains = {};
};

void mark(const Store& store, const Descriptor& at, int depth, Needed& needed) {
  if (depth > 8 || !needed.blobs.insert(at.digest).second || !store.has(at)) return;
  if (!media::is_index(at.media_type) && !media::is_manifest(at.media_type)) return;
  Document document = parse_document(store.read(at), at.media_type);
  if (auto* index = std::get_if<Index>(&document)) {
    for (const Descriptor& child : index->manifests) mark(store, child, depth + 1, needed);
    return;
  }
  const Manifest& manifest = std::get<Manifest>(document);
  for (const Descriptor& layer : manifest.layers) needed.blobs.insert(layer.digest);
  needed.blobs.insert(manifest.config.digest);
  if (!media::is_config(manifest.config.media_type) || !store.has(manifest.config)) return;
  for (const Digest& chain : chain_ids(parse_config(store.read(manifest.config))))
    needed.chains.insert(chain);
}

// A hold names digests only: what kind of blob it is shows when it is read.
void mark_held(const Store& store, const Digest& digest, Needed& needed) {
  auto info = status(store.blob_path(digest));
  if (!info) return;
  Descriptor blob{.digest = digest, .size = static_cast<uint64_t>(info->st_size)};
  if (blob.size <= largest_document) {
    try {
      std::string text = store.read(blob);
      if (text.starts_with("{"))
        blob.media_type = std::visit([](const auto& d) { return d.media_type; }, parse_document(text, ""));
    } catch (const Error&) {  // a config or a small layer: no document
    }
  }
  mark(store, blob, 0, needed);
}

}  // namespace

Hold needed_by(const Store& store, const Descriptor& descriptor) {
  Needed needed;
  mark(store, descriptor, 0, needed);
  return {.blobs = {needed.blobs.begin(), needed.blobs.end()},
          .chains = {needed.chains.begin(), needed.chains.end()}};
}

std::optional<Collected> collect_garbage(Store& store, Layers* layers) {
  auto lock = store.try_clean();
  if (!lock) return std::nullopt;
  Needed needed;
  for (const Tag& tag : store.tags()) mark(store, tag.descriptor, 0, needed);
  for (const Hold& hold : store.holds()) {
    for (const Digest& digest : hold.blobs) mark_held(store, digest, needed);
    needed.chains.insert(hold.chains.begin(), hold.chains.end());
  }
  Collected collected;
  for (const Digest& digest : store.blobs()) {
    if (needed.blobs.contains(digest)) continue;
    if (auto info = status(store.blob_path(digest))) collected.bytes += static_cast<uint64_t>(info->st_size);
    store.remove_blob(digest);
    ++collected.blobs;
  }
  store.remove_old_partials();
  if (!layers) return collected;
  for (const Digest& chain : layers->list()) {
    if (needed.chains.contains(chain)) continue;
    if (auto layer = layers->find(chain)) collected.bytes += layer->size;
    layers->remove(chain);
    ++collected.layers;
  }
  layers->remove_stale();
  return collected;
}

}  // namespace rayctl::oci
