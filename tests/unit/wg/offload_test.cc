#include "wg/offload.h"

#include <cstring>
#include <random>

#include "unit/wg/vectors.h"
#include "wg/checksum.h"
#include "wg/ip_packet.h"

using namespace rayctl;
using namespace rayctl::wg;

namespace {

struct Shape {
  int version = 4;
  uint8_t protocol = protocol_tcp;
  size_t options = 12;
  uint16_t source_port = 1000;
  uint32_t sequence = 0xfffffff0;
  uint8_t flags = 0x10;
};

void finish_checksum(Raw& packet, size_t transport, size_t field) {
  std::memset(&packet[field], 0, 2);
  uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
  uint16_t sum = static_cast<uint16_t>(~checksum_fold(checksum_add(
      ByteView(packet).subspan(transport), pseudo_header_sum(packet, protocol, packet.size() - transport))));
  std::memcpy(&packet[field], &sum, 2);
}

size_t transport_of(const Raw& packet) {
  return packet[0] >> 4 == 4 ? 20 : 40;
}

// A packet with a payload that depends on its place in the stream.
Raw make_packet(const Shape& shape, size_t payload) {
  bool v4 = shape.version == 4, tcp = shape.protocol == protocol_tcp;
  size_t ip = v4 ? 20 : 40, headers = ip + (tcp ? 20 + shape.options : 8);
  Raw packet(headers + payload);
  for (size_t i = 0; i < payload; ++i) packet[headers + i] = static_cast<uint8_t>((shape.sequence + i) * 7);
  if (v4) {
    packet[0] = 0x45;
    store_be16(&packet[2], static_cast<uint16_t>(packet.size()));
    packet[6] = 0x40;
    packet[8] = 64;
    packet[9] = shape.protocol;
    store_be32(&packet[12], 0x0a400002);
    store_be32(&packet[16], 0x0a400042);
    uint16_t sum = static_cast<uint16_t>(~checksum_fold(checksum_add(ByteView(packet).first(20))));
    std::memcpy(&packet[10], &sum, 2);
  } else {
    packet[0] = 0x60;
    store_be16(&packet[4], static_cast<uint16_t>(packet.size() - 40));
    packet[6] = shape.protocol;
    packet[7] = 64;
    packet[8] = packet[24] = 0xfd;
    packet[39] = 1;
  }
  store_be16(&packet[ip], shape.source_port);
  store_be16(&packet[ip + 2], 5201);
  if (tcp) {
    store_be32(&packet[ip + 4], shape.sequence);
    store_be32(&packet[ip + 8], 42);
    packet[ip + 12] = static_cast<uint8_t>((20 + shape.options) / 4 << 4);
    packet[ip + 13] = shape.flags;
    store_be16(&packet[ip + 14], 500);
  } else {
    store_be16(&packet[ip + 4], static_cast<uint16_t>(payload + 8));
  }
  finish_checksum(packet, ip, ip + (tcp ? 16 : 6));
  return packet;
}

bool sound(const Raw& packet) {
  size_t transport = transport_of(packet);
  uint8_t protocol = packet[0] >> 4 == 4 ? packet[9] : packet[6];
  bool header = packet[0] >> 4 == 6 || checksum_fold(checksum_add(ByteView(packet).first(20))) == 0xffff;
  return header && ip_length(packet) == packet.size() &&
         checksum_fold(checksum_add(ByteView(packet).subspan(transport),
                                    pseudo_header_sum(packet, protocol, packet.size() - transport))) ==
             0xffff;
}

// What the kernel would read: the frame's bytes, with its virtio header apart.
std::pair<VirtioHeader, Raw> gather(std::span<iovec> parts) {
  VirtioHeader header;
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  Raw packet;
  for (const iovec& part : parts.subspan(1)) {
    const auto* begin = static_cast<const uint8_t*>(part.iov_base);
    packet.insert(packet.end(), begin, begin + part.iov_len);
  }
  return {header, packet};
}

std::vector<Raw> split_all(const VirtioHeader& header, const Raw& packet) {
  auto split = plan_split(header, packet);
  REQUIRE(split);
  std::vector<Raw> packets;
  for (size_t i = 0; i < split->count; ++i) {
    Raw out(split->headers + split->segment);
    out.resize(write_segment(*split, packet, i, out.data()));
    packets.push_back(out);
  }
  return packets;
}

std::vector<std::pair<VirtioHeader, Raw>> coalesce(std::vector<Raw>& packets, Coalescer::Udp udp) {
  Coalescer coalescer(udp);
  for (Raw& packet : packets) coalescer.add(packet);
  std::vector<std::pair<VirtioHeader, Raw>> frames;
  for (size_t i = 0; i < coalescer.size(); ++i) frames.push_back(gather(coalescer.frame(i)));
  return frames;
}

}  // namespace

TEST_CASE("the checksum agrees with RFC 1071's sum of 16-bit words", "[wg]") {
  std::mt19937 random(3);
  for (size_t size = 0; size < 300; ++size) {
    Raw bytes(size);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % 4 == 0 ? 0xff : random());
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i += 2)
      sum += static_cast<uint32_t>(bytes[i] << 8) | (i + 1 < size ? bytes[i + 1] : 0U);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    uint8_t stored[2];
    uint16_t folded = checksum_fold(checksum_add(bytes));
    std::memcpy(stored, &folded, 2);
    CHECK(load_be16(stored) == sum);
  }
}

TEST_CASE("segments of one stream become one frame, and fall apart into the same packets", "[wg]") {
  for (int version : {4, 6})
    for (uint8_t protocol : {protocol_tcp, protocol_udp}) {
      std::vector<Raw> packets;
      Shape shape{.version = version, .protocol = protocol};
      for (int i = 0; i < 20; ++i) {
        size_t payload = i == 19 ? 500 : 1368;
        if (protocol == protocol_tcp && i == 19) shape.flags = 0x18;  // the last one pushes
        packets.push_back(make_packet(shape, payload));
        if (version == 4) {  // as the kernel numbers the parts of a super-packet
          store_be16(&packets.back()[4], static_cast<uint16_t>(i));
          std::memset(&packets.back()[10], 0, 2);
          uint16_t sum =
              static_cast<uint16_t>(~checksum_fold(checksum_add(ByteView(packets.back()).first(20))));
          std::memcpy(&packets.back()[10], &sum, 2);
        }
        REQUIRE(sound(packets.back()));
        shape.sequence += static_cast<uint32_t>(payload);
      }
      std::vector<Raw> originals = packets;
      auto frames = coalesce(packets, Coalescer::Udp::together);
      REQUIRE(frames.size() == 1);
      const auto& [header, packet] = frames[0];
      CHECK(header.flags == virtio_needs_checksum);
      CHECK(header.gso_type == (protocol == protocol_udp ? virtio_udp
                                : version == 4           ? virtio_tcp4
                                                         : virtio_tcp6));
      CHECK(header.segment_size == 1368);
      CHECK(ip_length(packet) == packet.size());
      CHECK(split_all(header, packet) == originals);
    }
}

TEST_CASE("what doesn't belong together stays apart and in order", "[wg]") {
  Shape shape;
  auto next = [&](size_t payload) {
    Raw packet = make_packet(shape, payload);
    shape.sequence += static_cast<uint32_t>(payload);
    return packet;
  };
  auto sizes = [](std::vector<Raw> packets) {
    std::vector<size_t> result;
    for (const auto& [header, packet] : coalesce(packets, Coalescer::Udp::separate))
      result.push_back(packet.size() - 52);
    return result;
  };
  using Sizes = std::vector<size_t>;
  CHECK(sizes({next(100), next(100), next(50), next(100)}) == Sizes{250, 100});  // a short one is the last
  Raw first = next(100);
  next(100);
  CHECK(sizes({first, next(100)}) == Sizes{100, 100});  // a gap
  CHECK(sizes({next(100), next(200)}) == Sizes{100, 200});
  Raw bad = next(100);
  first = next(100);
  bad.back() ^= 1;
  CHECK(sizes({bad, first}) == Sizes{100, 100});  // a wrong checksum is passed on for the kernel to see
  Raw one = next(100), pure = make_packet(shape, 0), two = next(100), three = next(100);
  CHECK(sizes({one, pure, two, three}) == Sizes{100, 0, 200});  // an ACK keeps its place
  one = next(100), two = next(100);
  store_be16(&two[34], 501);  // another window
  finish_checksum(two, 20, 36);
  CHECK(sizes({one, two}) == Sizes{100, 100});
  shape.flags = 0x11;  // FIN
  Raw fin = make_packet(shape, 100);
  shape.flags = 0x10;
  CHECK(sizes({fin, next(100)}) == Sizes{100, 100});
  shape.flags = 0x18;
  one = next(100);
  shape.flags = 0x10;
  CHECK(sizes({one, next(100)}) == Sizes{100, 100});  // after a push there is a new frame
  // two flows, mixed
  Shape other = shape;
  other.source_port = 2000;
  one = make_packet(other, 100);
  other.sequence += 100;
  two = make_packet(other, 100);
  CHECK(sizes({next(100), one, next(100), two}) == Sizes{200, 200});
  // no frame is longer than an IP packet can be
  std::vector<Raw> many;
  for (int i = 0; i < 50; ++i) many.push_back(next(1400));
  CHECK(sizes(many) == Sizes{46 * 1400, 4 * 1400});
  Shape datagram{.protocol = protocol_udp};
  std::vector<Raw> datagrams = {make_packet(datagram, 100), make_packet(datagram, 100)};
  CHECK(coalesce(datagrams, Coalescer::Udp::separate).size() == 2);
  Raw fragment = make_packet(datagram, 100);
  fragment[6] = 0x20;
  datagrams = {fragment, fragment};
  CHECK(coalesce(datagrams, Coalescer::Udp::together).size() == 2);
}

TEST_CASE("a checksum that the kernel left to us is completed", "[wg]") {
  Raw packet = make_packet({}, 77), wanted = packet;
  uint16_t partial = checksum_fold(pseudo_header_sum(packet, protocol_tcp, packet.size() - 20));
  std::memcpy(&packet[36], &partial, 2);
  CHECK(split_all({virtio_needs_checksum, virtio_none, 0, 0, 20, 16}, packet) == std::vector<Raw>{wanted});
  CHECK(split_all({}, wanted) == std::vector<Raw>{wanted});
}

TEST_CASE("a virtio header that doesn't fit its packet is refused", "[wg]") {
  Raw packet = make_packet({}, 3000);
  VirtioHeader good{virtio_needs_checksum, virtio_tcp4, 52, 1000, 20, 16};
  CHECK(plan_split(good, packet)->count == 3);
  auto refused = [&](auto change, const Raw& of) {
    VirtioHeader header = good;
    change(header);
    return !plan_split(header, of);
  };
  CHECK(refused([](VirtioHeader& h) { h.segment_size = 0; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.gso_type = virtio_tcp6; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.gso_type = 9; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.flags = 0; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.checksum_start = 19; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.checksum_start = 3050; }, packet));
  CHECK(refused([](VirtioHeader& h) { h.checksum_offset = 60000; }, packet));
  CHECK(refused([](VirtioHeader&) {}, Raw(packet.begin(), packet.begin() + 52)));
  CHECK(refused([](VirtioHeader&) {}, Raw{}));
  CHECK(refused([](VirtioHeader&) {}, Raw(100, 0)));
}
