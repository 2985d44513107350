// The Internet checksum (RFC 1071).
#pragma once

#include <cstdint>
#include <span>

namespace rayctl::wg {

// Sums as they lie in memory, unfolded; adding such sums adds the data, when all pieces but the last are
// even.
uint64_t checksum_add(std::span<const uint8_t> bytes, uint64_t sum = 0);

// Folds to 16 bits, as they are stored in memory (store with memcpy, not big-endian). The checksum is its
// complement.
uint16_t checksum_fold(uint64_t sum);

// Addresses, protocol and length of the pseudo header of an IPv4 or IPv6 packet.
uint64_t pseudo_header_sum(std::span<const uint8_t> packet, uint8_t protocol, size_t transport_size);

}  // namespace rayctl::wg
