// Layers as registries hold them: gzip (ISA-L), zstd, or plain. The bytes decide, not the media type.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/io.h"

namespace rayctl::oci {

enum class Compression { none, gzip, zstd };

std::string_view to_string(Compression compression);
Compression sniff(Bytes first);  // by the magic number; at least 4 bytes decide

// What a stream may cost us.
struct DecompressLimits {
  int zstd_window_log = 27;         // 128 MiB, zstd's own default for decoders
  uint64_t ratio = 400;             // of output to input …
  uint64_t free_output = 1u << 30;  // … once there is more output than this
};

// Reads the plain bytes of `compressed`: any number of gzip members or zstd frames. Truncation, a wrong
// checksum and anything after the last member are errors.
Source decompress(Source compressed, const DecompressLimits& limits = {});

}  // namespace rayctl::oci
