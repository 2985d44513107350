// The first half of offload.h: what the kernel's GSO would do.
#include <algorithm>
#include <cstring>

#include "wg/checksum.h"
#include "wg/ip_packet.h"
#include "wg/offload.h"

namespace rayctl::wg {

namespace {

constexpr size_t tcp_header_least = 20;
constexpr size_t udp_header_size = 8;
constexpr size_t tcp_flags = 13;
constexpr uint8_t tcp_fin_push = 0x01 | 0x08;
constexpr uint8_t tcp_cwr = 0x80;

void store_checksum(uint8_t* field, uint64_t sum, bool udp) {
  uint16_t value = static_cast<uint16_t>(~checksum_fold(sum));
  if (udp && value == 0) value = 0xffff;  // 0 means "none"
  std::memcpy(field, &value, sizeof value);
}

}  // namespace

std::optional<Split> plan_split(const VirtioHeader& header, std::span<const uint8_t> packet) {
  int version = ip_version(packet);
  Split split;
  if (version == 0) return std::nullopt;
  split.kind = header.gso_type & static_cast<uint8_t>(~virtio_ecn);
  split.checksum = header.flags & virtio_needs_checksum;
  split.transport = header.checksum_start;
  split.checksum_field = size_t{header.checksum_start} + header.checksum_offset;
  if (split.checksum && (split.transport < (version == 4 ? ipv4_header_size : ipv6_header_size) ||
                         split.checksum_field + 2 > packet.size()))
    return std::nullopt;
  split.headers = 0;
  split.segment = packet.size();
  if (split.kind == virtio_none) return split;

  bool tcp = split.kind == virtio_tcp4 || split.kind == virtio_tcp6;
  if (!split.checksum || header.segment_size == 0 || (!tcp && split.kind != virtio_udp) ||
      (split.kind == virtio_tcp4 && version != 4) || (split.kind == virtio_tcp6 && version != 6))
    return std::nullopt;
  if (tcp) {
    if (split.transport + tcp_header_least > packet.size() || header.checksum_offset != 16)
      return std::nullopt;
    size_t size = static_cast<size_t>(packet[split.transport + 12] >> 4) * 4;
    if (size < tcp_header_least) return std::nullopt;
    split.headers = split.transport + size;
  } else {
    if (header.checksum_offset != 6) return std::nullopt;
    split.headers = split.transport + udp_header_size;
  }
  if (split.headers >= packet.size()) return std::nullopt;
  split.segment = header.segment_size;
  split.count = (packet.size() - split.headers + split.segment - 1) / split.segment;
  return split;
}

size_t write_segment(const Split& split, std::span<const uint8_t> packet, size_t i, uint8_t* out) {
  if (split.kind == virtio_none) {
    std::memcpy(out, packet.data(), packet.size());
    if (split.checksum) {
      // The field holds the pseudo header's sum already.
      uint64_t sum = checksum_add({out + split.transport, packet.size() - split.transport});
      store_checksum(out + split.checksum_field, sum, split.checksum_field - split.transport == 6);
    }
    return packet.size();
  }
  size_t from = split.headers + i * split.segment;
  size_t payload = std::min(split.segment, packet.size() - from);
  size_t size = split.headers + payload;
  std::memcpy(out, packet.data(), split.headers);
  std::memcpy(out + split.headers, packet.data() + from, payload);

  if (out[0] >> 4 == 4) {
    store_be16(out + 2, static_cast<uint16_t>(size));
    store_be16(out + 4, static_cast<uint16_t>(load_be16(out + 4) + i));
    std::memset(out + 10, 0, 2);
    store_checksum(out + 10, checksum_add({out, static_cast<size_t>(out[0] & 15) * 4}), false);
  } else {
    store_be16(out + 4, static_cast<uint16_t>(size - ipv6_header_size));
  }
  uint8_t* transport = out + split.transport;
  bool udp = split.kind == virtio_udp;
  if (udp) {
    store_be16(transport + 4, static_cast<uint16_t>(size - split.transport));
  } else {
    store_be32(transport + 4, load_be32(transport + 4) + static_cast<uint32_t>(i * split.segment));
    if (i + 1 < split.count) transport[tcp_flags] &= static_cast<uint8_t>(~tcp_fin_push);
    if (i > 0) transport[tcp_flags] &= static_cast<uint8_t>(~tcp_cwr);
  }
  uint8_t* field = out + split.checksum_field;
  std::memset(field, 0, 2);
  size_t transport_size = size - split.transport;
  uint64_t sum = pseudo_header_sum({out, size}, udp ? protocol_udp : protocol_tcp, transport_size);
  store_checksum(field, checksum_add({transport, transport_size}, sum), udp);
  return size;
}

}  // namespace rayctl::wg
