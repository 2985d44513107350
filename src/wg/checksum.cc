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

}  // namespace

uint64_t checksum_add(std::span<const uint8_t> bytes, uint64_t sum) {
  const uint8_t* at = bytes.data();
  size_t left = bytes.size();
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
