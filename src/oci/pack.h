// From an upper directory to a layer in the store: tar, diff id, compression and blob digest in one pass.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/io.h"
#include "oci/compress.h"
#include "oci/diff.h"
#include "oci/image.h"
#include "oci/store.h"

namespace rayctl::oci {

// Writes POSIX (pax) tar headers in one byte form: no names of users, no times but mtime in whole seconds,
// records only where ustar's fields can't hold a value. Content follows with content() and padding().
class TarWriter {
 public:
  // No mtime is later than `latest_mtime` (SOURCE_DATE_EPOCH).
  TarWriter(Sink sink, std::optional<int64_t> latest_mtime) : sink_(std::move(sink)), latest_(latest_mtime) {}
  void header(const Change& change);
  void content(Bytes bytes) { sink_(bytes); }
  void padding(uint64_t size);
  void finish();

 private:
  Sink sink_;
  std::optional<int64_t> latest_;
};

struct PackOptions {
  Compression compression = Compression::zstd;
  std::optional<int64_t> latest_mtime = {};
  // Sees each regular file's content on its way, in pieces; `last` with the final one. Throws to refuse the
  // layer.
  std::function<void(const std::string& path, Bytes piece, bool last)> inspect = {};
  std::function<void(uint64_t total)> begin = {};     // told the bytes of all files
  std::function<void(uint64_t bytes)> progress = {};  // those that are packed now
  std::function<void()> poll = {};                    // called often; throws to stop
};

struct PackedLayer {
  Digest diff_id = {};
  Descriptor blob = {};
  uint64_t tar_size = 0, file_bytes = 0, entries = 0;
};

// Packs the changes of `upper` into the store. Empty when nothing changed.
std::optional<PackedLayer> pack_layer(Store& store, int upper, MergedView& below, const PackOptions& options);

// The same layer in another compression: the diff id stays. Throws when the blob isn't what `diff_id` says.
Descriptor recompress(Store& store, const Descriptor& blob, const Digest& diff_id, Compression compression);

}  // namespace rayctl::oci
