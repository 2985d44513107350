#include "cluster/control_pack.h"

#include <zstd.h>

#include "base/error.h"

namespace rayctl::cluster {

namespace {

constexpr size_t least = 1024;  // below that a frame saves nothing that counts
constexpr int level = 3;
constexpr std::string_view magic = "\x28\xb5\x2f\xfd";

}  // namespace

std::string pack(std::string_view json) {
  if (json.size() < least) return std::string(json);
  std::string out(ZSTD_compressBound(json.size()), '\0');
  size_t size = ZSTD_compress(out.data(), out.size(), json.data(), json.size(), level);
  if (ZSTD_isError(size)) throw Error("cannot pack a message: {}", ZSTD_getErrorName(size));
  return out.substr(0, size);  // not the bound's capacity
}

bool is_packed(std::string_view payload) {
  return payload.starts_with(magic);
}

std::string unpack(std::string_view packed, size_t limit) {
  if (!is_packed(packed)) return std::string(packed);
  unsigned long long size = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
    throw Error("a packed message is damaged: its frame doesn't tell its size");
  if (size > limit) throw Error("a packed message has {} bytes: the limit is {}", size, limit);
  std::string out(size, '\0');
  size_t got = ZSTD_decompress(out.data(), out.size(), packed.data(), packed.size());
  if (ZSTD_isError(got)) throw Error("a packed message is damaged: {}", ZSTD_getErrorName(got));
  if (got != size) throw Error("a packed message is damaged: {} bytes of {}", got, size);
  return out;
}

}  // namespace rayctl::cluster
