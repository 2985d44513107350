// Brings an image into the store and unpacks it, in one pass: every layer is fetched, verified, decompressed,
// verified again and written at the same time, all layers in parallel.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "oci/image.h"
#include "oci/image_source.h"
#include "oci/layers.h"
#include "oci/store.h"

namespace rayctl::oci {

struct PullOptions {
  Platform platform = host_platform();
  unsigned parallel = 4;  // layers at a time
  std::atomic<bool>* cancel =
      nullptr;  // set when one layer fails: RegistryOptions' ends the others' transfers
  // Hears of bytes of blobs that are dealt with, of so many in all; from several threads at once.
  std::function<void(uint64_t done, uint64_t total)> progress = {};
};

// `layers` may be nullptr: only blobs are kept (no root, no unpacking). Nothing is tagged: the caller does it
// while it still holds store.use(). When it fails or is interrupted, finished layers and parts of blobs stay
// for the next try.
Image pull(ImageSource& source, const std::string& version, Store& store, Layers* layers,
           const PullOptions& options = {});

// Unpacks what isn't yet, of an image whose blobs are in the store.
void ensure_unpacked(Store& store, Layers& layers, const Image& image);

// The lower directories of an image, bottom first, unpacked if need be.
std::vector<std::string> layer_directories(Store& store, Layers& layers, const Image& image);

}  // namespace rayctl::oci
