// Super-packets of a TUN link with IFF_VNET_HDR: cut into packets on their way out, put together on their way
// in.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rayctl::wg {

// struct virtio_net_hdr of <linux/virtio_net.h>, which isn't C++. In the machine's own byte order.
struct VirtioHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_size = 0;
  uint16_t segment_size = 0;     // of payload
  uint16_t checksum_start = 0;   // the sum of what begins here …
  uint16_t checksum_offset = 0;  // … is to be stored this far behind it
};
static_assert(sizeof(VirtioHeader) == 10);

constexpr uint8_t virtio_needs_checksum = 1;
constexpr uint8_t virtio_none = 0;
constexpr uint8_t virtio_tcp4 = 1;
constexpr uint8_t virtio_tcp6 = 4;
constexpr uint8_t virtio_udp = 5;  // UDP_L4
constexpr uint8_t virtio_ecn = 0x80;

// How a frame falls apart.
struct Split {
  uint8_t kind = virtio_none;
  bool checksum = false;      // is to be completed
  size_t transport = 0;       // offset of the TCP or UDP header
  size_t checksum_field = 0;  // offset
  size_t headers = 0;         // bytes that every segment repeats
  size_t segment = 0;         // payload of each but the last
  size_t count = 1;
};

// Empty when the header doesn't fit the packet.
std::optional<Split> plan_split(const VirtioHeader& header, std::span<const uint8_t> packet);

// Writes packet `i` of `split.count`, complete with lengths, sequence number and checksums; returns its size,
// which is at most split.headers + split.segment (the packet's own, when it isn't split).
size_t write_segment(const Split& split, std::span<const uint8_t> packet, size_t i, uint8_t* out);

// Puts consecutive TCP segments (and UDP datagrams) of a flow together again; the rest passes. Order within a
// flow stays. Packets aren't copied: they must live, and may be changed, until the next clear().
class Coalescer {
 public:
  enum class Udp { separate, together };  // whether the link takes UDP super-packets
  explicit Coalescer(Udp udp) : udp_(udp) {}

  void add(std::span<uint8_t> packet);  // an IP packet of exactly its header's length
  size_t size() const { return used_; }
  // Frame `i`: the virtio header, the first packet, the payloads of those after it.
  std::span<iovec> frame(size_t i);
  void clear() { used_ = 0; }

 private:
  struct Item {
    VirtioHeader virtio;
    std::vector<iovec> parts;
    uint64_t flow;
    uint8_t* packet;
    size_t transport, headers, payload, total;
    uint32_t next_sequence;
    uint8_t protocol;
    bool open;
  };
  struct Candidate;
  bool examine(std::span<uint8_t> packet, Candidate& candidate) const;
  bool append(Item& item, const Candidate& candidate);
  Item& start(std::span<uint8_t> packet);
  static void finish(Item& item);

  Udp udp_;
  std::vector<Item> items_;
  size_t used_ = 0;
};

}  // namespace rayctl::wg
