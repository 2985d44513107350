// Removing images: what no name and no hold needs goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "oci/layers.h"
#include "oci/store.h"

namespace rayctl::oci {

struct Collected {
  size_t blobs = 0, layers = 0;
  uint64_t bytes = 0;  // of blobs and unpacked layers
};

// Empty while another process uses the store: the next one that removes something makes up for it.
std::optional<Collected> collect_garbage(Store& store, Layers* layers);

// Which chains and blobs a descriptor and all below it need; damaged or missing documents count as they are.
Hold needed_by(const Store& store, const Descriptor& descriptor);

}  // namespace rayctl::oci
