// Any stream in any steps: bounded output, no crash.
#include "oci/decompress.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  size_t step = data[0] % 64 + 1;
  Bytes left(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  Source source = [&](std::span<std::byte> out) {
    size_t n = std::min({step, out.size(), left.size()});
    std::copy_n(left.begin(), n, out.begin());
    left = left.subspan(n);
    return n;
  };
  try {
    copy(
        oci::decompress(source, {.zstd_window_log = 20, .ratio = 100, .free_output = 1 << 20}), [](Bytes) {},
        4096);
  } catch (const Error&) {
  }
  return 0;
}
