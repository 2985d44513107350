#include "wg/checksum.h"

#include <cstring>

#include "wg/ip_packet.h"

namespace rayctl::wg {

namespace {

__extension__ using Wide = unsigned __int128;

// 64 bits into which carries out of the top are added again.
uint64_t fold64(Wide sum) {
  uint64_t low = static_cast<uint64_t>(sum), high = static_cast<uint64_t>(sum >> 64);
  low += high;
  return low + (low < high);
}

uint64_t add_scalar(const uint8_t* at, size_t left, uint64_t sum) {
  // Two chains of add-with-carry: one alone waits for itself.
  Wide a = sum, b = 0;
  for (; left >= 32; at += 32, left -= 32) {
    uint64_t words[4];
    std::memcpy(words, at, sizeof words);
    a += words[0];
    b += words[1];
    a += words[2];
    b += words[3];
  }
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, sizeof word);
    a += word;
  }
  if (left > 0) {
    uint64_t word = 0;
    std::memcpy(&word, at, left);
    b += word;
  }
  return fold64(a + b);
}

#ifdef __x86_64__
// Halves of words in lanes of 64 bits: nothing carries.
__attribute__((target("avx2"))) uint64_t add_avx2(const uint8_t* at, size_t left, uint64_t sum) {
  using Lanes = uint64_t __attribute__((vector_size(32)));
  Lanes low = {}, high = {};
  size_t whole = left / 64 * 64;
  for (const uint8_t* end = at + whole; at != end; at += 64) {
    Lanes x, y;
    std::memcpy(&x, at, sizeof x);
    std::memcpy(&y, at + sizeof x, sizeof y);
    low += (x & 0xffffffff) + (y & 0xffffffff);
    high += (x >> 32) + (y >> 32);
  }
  low += high;
  return add_scalar(at, left - whole, fold64(Wide{sum} + low[0] + low[1] + low[2] + low[3]));
}
#endif

using Add = uint64_t (*)(const uint8_t*, size_t, uint64_t);

Add fastest() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return add_avx2;
#endif
  return add_scalar;
}

}  // namespace

uint64_t checksum_add(std::span<const uint8_t> bytes, uint64_t sum) {
  static const Add add = fastest();
  return add(bytes.data(), bytes.size(), sum);
}

uint16_t checksum_fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

uint64_t pseudo_header_sum(std::span<const uint8_t> packet, uint8_t protocol, size_t transport_size) {
  uint8_t tail[8] = {};
  store_be32(tail, static_cast<uint32_t>(transport_size));
  tail[7] = protocol;
  bool v4 = packet[0] >> 4 == 4;
  return checksum_add(tail, checksum_add(v4 ? packet.subspan(12, 8) : packet.subspan(8, 32)));
}

}  // namespace rayctl::wg
