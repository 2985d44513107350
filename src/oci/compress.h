// Compression of layers on all cores whose bytes depend on the input alone, not on the number of threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/io.h"
#include "oci/decompress.h"

namespace rayctl::oci {

Compression parse_compression(std::string_view text);  // "zstd", "gzip"
std::string_view layer_type(Compression compression);  // the media type

// Cuts the stream into blocks of 8 MiB, compresses each by itself (a zstd frame that tells its size, or a
// gzip member without a time), and passes them on in order. The sink is called in the writer's thread.
class Compressor {
 public:
  Compressor(Compression compression, Sink sink, unsigned threads = 0);  // 0: one per processor
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;
  void write(Bytes bytes);
  void finish();  // once, after the last write; an empty stream becomes one empty block

  static constexpr size_t block_size = 8 << 20;

 private:
  struct Pool;
  std::unique_ptr<Pool> pool_;
};

}  // namespace rayctl::oci
