// The second half of offload.h: what the kernel's GRO would do.
#include <algorithm>
#include <cstring>

#include "wg/checksum.h"
#include "wg/ip_packet.h"
#include "wg/offload.h"

namespace rayctl::wg {

namespace {

constexpr size_t packet_limit = 65535;
constexpr size_t udp_segments = 64;   // UDP_MAX_SEGMENTS of older kernels
constexpr size_t parts_limit = 1000;  // writev takes 1,024
constexpr size_t flows_searched = 16;
constexpr uint8_t tcp_ack = 0x10, tcp_push = 0x08;

}  // namespace

// A packet that may be part of a super-packet.
struct Coalescer::Candidate {
  std::span<uint8_t> packet;
  size_t transport, headers, payload;
  uint8_t protocol;
  uint64_t flow;  // a hash of addresses, protocol and ports
  bool mergeable;
};

// False: not even the flow can be told.
bool Coalescer::examine(std::span<uint8_t> packet, Candidate& c) const {
  bool v4 = packet[0] >> 4 == 4;
  c.packet = packet;
  c.transport = v4 ? static_cast<size_t>(packet[0] & 15) * 4 : ipv6_header_size;
  c.protocol = v4 ? packet[9] : packet[6];
  bool tcp = c.protocol == protocol_tcp;
  if ((!tcp && c.protocol != protocol_udp) || packet.size() < c.transport + (tcp ? 20 : 8)) return false;
  if (v4 && (load_be16(&packet[6]) & 0x3fff) != 0) return false;  // a fragment
  uint64_t flow = c.protocol;
  for (size_t at = v4 ? 12 : 8, end = v4 ? 20 : 40; at < end; at += 8) {
    uint64_t word;
    std::memcpy(&word, &packet[at], sizeof word);
    flow = (flow ^ word) * 0x9e3779b97f4a7c15;
  }
  uint32_t ports;
  std::memcpy(&ports, &packet[c.transport], sizeof ports);
  flow ^= flow >> 32;
  c.flow = (flow ^ ports) * 0x9e3779b97f4a7c15;

  const uint8_t* header = &packet[c.transport];
  c.headers = c.transport + (tcp ? static_cast<size_t>(header[12] >> 4) * 4 : 8);
  // IPv4 options are rare, and without "don't fragment" the identification matters.
  c.mergeable = c.headers < packet.size() && c.headers >= c.transport + (tcp ? 20 : 8) &&
                (!v4 || (c.transport == ipv4_header_size && packet[6] == 0x40));
  if (tcp)
    c.mergeable = c.mergeable && (header[13] & ~tcp_push) == tcp_ack;
  else
    c.mergeable = c.mergeable && udp_ == Udp::together &&
                  load_be16(header + 4) == packet.size() - c.transport && load_be16(header + 6) != 0;
  c.payload = c.mergeable ? packet.size() - c.headers : 0;
  if (!c.mergeable) return true;
  // The kernel is told that a super-packet is sound: so each part has to be.
  size_t size = packet.size() - c.transport;
  c.mergeable = (!v4 || checksum_fold(checksum_add(packet.first(c.transport))) == 0xffff) &&
                checksum_fold(checksum_add(packet.subspan(c.transport),
                                           pseudo_header_sum(packet, c.protocol, size))) == 0xffff;
  return true;
}

bool Coalescer::append(Item& item, const Candidate& c) {
  if (!item.open || !c.mergeable || c.protocol != item.protocol || c.headers != item.headers ||
      c.payload > item.payload || item.total + c.payload > packet_limit || item.parts.size() >= parts_limit)
    return false;
  const uint8_t *a = item.packet, *b = c.packet.data();
  bool same = a[0] >> 4 == 4
                  // type of service, flags and fragment, time to live and protocol, addresses
                  ? a[0] == b[0] && a[1] == b[1] && a[6] == b[6] && std::memcmp(a + 8, b + 8, 2) == 0 &&
                        std::memcmp(a + 12, b + 12, 8) == 0
                  // class and flow label, next header and hop limit, addresses
                  : std::memcmp(a, b, 4) == 0 && std::memcmp(a + 6, b + 6, 34) == 0;
  if (!same || std::memcmp(a + item.transport, b + c.transport, 4) != 0) return false;
  const uint8_t *ta = a + item.transport, *tb = b + c.transport;
  if (item.protocol == protocol_tcp) {
    // acknowledgement, data offset, window, urgent pointer, options
    if (load_be32(tb + 4) != item.next_sequence || std::memcmp(ta + 8, tb + 8, 5) != 0 ||
        std::memcmp(ta + 14, tb + 14, 2) != 0 || std::memcmp(ta + 18, tb + 18, 2) != 0 ||
        std::memcmp(ta + 20, tb + 20, item.headers - item.transport - 20) != 0)
      return false;
  } else if (item.parts.size() - 1 >= udp_segments) {
    return false;
  }
  item.parts.push_back({c.packet.data() + c.headers, c.payload});
  item.total += c.payload;
  item.next_sequence += static_cast<uint32_t>(c.payload);
  if (item.protocol == protocol_tcp && (tb[13] & tcp_push)) {
    item.packet[item.transport + 13] |= tcp_push;
    item.open = false;
  }
  if (c.payload < item.payload) item.open = false;  // only the last one may be shorter
  return true;
}

Coalescer::Item& Coalescer::start(std::span<uint8_t> packet) {
  if (used_ == items_.size()) items_.emplace_back();
  Item& item = items_[used_++];
  item.virtio = {};
  item.parts.clear();
  item.parts.push_back({nullptr, sizeof(VirtioHeader)});  // set by frame(): items_ moves when it grows
  item.parts.push_back({packet.data(), packet.size()});
  item.packet = packet.data();
  item.total = packet.size();
  item.flow = 0;
  item.open = false;
  return item;
}

void Coalescer::add(std::span<uint8_t> packet) {
  Candidate c;
  if (!examine(packet, c)) {
    start(packet);
    return;
  }
  for (size_t i = used_, least = used_ > flows_searched ? used_ - flows_searched : 0; i-- > least;) {
    Item& item = items_[i];
    if (item.flow != c.flow) continue;
    if (append(item, c)) return;
    item.open = false;  // what comes later must not get in front of this packet
    break;
  }
  Item& item = start(packet);
  item.flow = c.flow;
  item.transport = c.transport;
  item.headers = c.headers;
  item.payload = c.payload;
  item.protocol = c.protocol;
  item.open = c.mergeable && !(c.protocol == protocol_tcp && (packet[c.transport + 13] & tcp_push));
  if (item.open && c.protocol == protocol_tcp)
    item.next_sequence = load_be32(&packet[c.transport + 4]) + static_cast<uint32_t>(c.payload);
}

void Coalescer::finish(Item& item) {
  bool v4 = item.packet[0] >> 4 == 4, tcp = item.protocol == protocol_tcp;
  uint8_t* transport = item.packet + item.transport;
  size_t transport_size = item.total - item.transport;
  if (v4) {
    store_be16(item.packet + 2, static_cast<uint16_t>(item.total));
    std::memset(item.packet + 10, 0, 2);
    uint16_t sum = static_cast<uint16_t>(~checksum_fold(checksum_add({item.packet, ipv4_header_size})));
    std::memcpy(item.packet + 10, &sum, sizeof sum);
  } else {
    store_be16(item.packet + 4, static_cast<uint16_t>(item.total - ipv6_header_size));
  }
  if (!tcp) store_be16(transport + 4, static_cast<uint16_t>(transport_size));
  uint16_t partial =
      checksum_fold(pseudo_header_sum({item.packet, item.headers}, item.protocol, transport_size));
  std::memcpy(transport + (tcp ? 16 : 6), &partial, sizeof partial);
  item.virtio = {virtio_needs_checksum,
                 tcp ? (v4 ? virtio_tcp4 : virtio_tcp6) : virtio_udp,
                 static_cast<uint16_t>(item.headers),
                 static_cast<uint16_t>(item.payload),
                 static_cast<uint16_t>(item.transport),
                 static_cast<uint16_t>(tcp ? 16 : 6)};
}

std::span<iovec> Coalescer::frame(size_t i) {
  Item& item = items_[i];
  if (item.parts.size() > 2) finish(item);
  item.parts[0].iov_base = &item.virtio;
  return item.parts;
}

}  // namespace rayctl::wg
