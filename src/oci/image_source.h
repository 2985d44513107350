// Where images come from: a registry, or an image layout in a directory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/io.h"
#include "oci/image.h"
#include "oci/registry.h"
#include "oci/store.h"

namespace rayctl::oci {

// Safe to use from many threads.
class ImageSource {
 public:
  virtual ~ImageSource() = default;
  // By tag or digest; empty = the only image there is.
  virtual Registry::Fetched manifest(const std::string& version) = 0;
  // Streams a blob from byte `offset` on, over at most so many connections; the receiver verifies.
  virtual void blob(const Descriptor& blob, uint64_t offset, unsigned streams, const Sink& take) = 0;
};

std::unique_ptr<ImageSource> source_from(Registry& registry,
                                         std::string repository);  // both outlive the source
std::unique_ptr<ImageSource> source_from(const Store& layout);

}  // namespace rayctl::oci
