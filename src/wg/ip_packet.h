// What a tunnel needs to know of an IP packet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rayctl::wg {

constexpr size_t ipv4_header_size = 20;
constexpr size_t ipv6_header_size = 40;
constexpr uint8_t protocol_tcp = 6;
constexpr uint8_t protocol_udp = 17;

inline uint16_t load_be16(const uint8_t* bytes) {
  return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
}
inline void store_be16(uint8_t* bytes, uint16_t value) {
  bytes[0] = static_cast<uint8_t>(value >> 8);
  bytes[1] = static_cast<uint8_t>(value);
}
inline uint32_t load_be32(const uint8_t* bytes) {
  return static_cast<uint32_t>(load_be16(bytes)) << 16 | load_be16(bytes + 2);
}
inline void store_be32(uint8_t* bytes, uint32_t value) {
  store_be16(bytes, static_cast<uint16_t>(value >> 16));
  store_be16(bytes + 2, static_cast<uint16_t>(value));
}

// 4 or 6 when there is room for the fixed header, else 0.
inline int ip_version(std::span<const uint8_t> packet) {
  if (packet.size() >= ipv4_header_size && packet[0] >> 4 == 4) return 4;
  if (packet.size() >= ipv6_header_size && packet[0] >> 4 == 6) return 6;
  return 0;
}

// The length that the header says; 0 when it is none or more than there is.
inline size_t ip_length(std::span<const uint8_t> packet) {
  int version = ip_version(packet);
  size_t length = version == 4   ? load_be16(&packet[2])
                  : version == 6 ? size_t{load_be16(&packet[4])} + ipv6_header_size
                                 : 0;
  if (length > packet.size() || (version == 4 && length < ipv4_header_size)) return 0;
  return length;
}

}  // namespace rayctl::wg
