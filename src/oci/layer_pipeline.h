// One layer's way from where it is to blobs/ and to a directory, each step on a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/io.h"
#include "oci/layers.h"
#include "oci/store.h"
#include "oci/unpack.h"

namespace rayctl::oci {

struct LayerJob {
  Descriptor blob;
  Digest diff_id;
  // Streams the blob from an offset on, over the network or from another store.
  std::function<void(uint64_t offset, const Sink& take)> fetch;
  std::function<void(uint64_t amount)> advance;  // bytes of the blob that are dealt with
};

// Fetches and verifies the blob alone.
void fetch_layer(Store& store, const LayerJob& job);

struct UnpackedLayer {
  LayerDraft draft;
  Unpacked unpacked;
};
// The blob is in the store and the draft complete (but for finish_layer) when this returns.
UnpackedLayer fetch_and_unpack_layer(Store& store, Layers& layers, const LayerJob& job);

}  // namespace rayctl::oci
