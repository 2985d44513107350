// Frames of the TUN link: a virtio header and a packet, which a container of ours may have made.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "wg/checksum.h"
#include "wg/ip_packet.h"
#include "wg/offload.h"

using namespace rayctl::wg;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  VirtioHeader header;
  if (size < sizeof header || size > 65536) return 0;
  std::memcpy(&header, data, sizeof header);
  std::vector<uint8_t> packet(data + sizeof header,
                              data + size);  // of its own, so that no byte beyond it is read
  auto split = plan_split(header, packet);
  if (!split) return 0;
  std::vector<std::vector<uint8_t>> parts;
  size_t payload = 0;
  for (size_t i = 0; i < split->count && i < 200; ++i) {
    std::vector<uint8_t> out(split->headers + split->segment);
    size_t n = write_segment(*split, packet, i, out.data());
    if (n > out.size() || n < split->headers) abort();
    out.resize(n);
    payload += n - split->headers;
    parts.push_back(out);
  }
  if (split->count <= 200 && payload != packet.size() - split->headers) abort();
  Coalescer coalescer(Coalescer::Udp::together);
  size_t in = 0, out = 0;
  for (std::vector<uint8_t>& part : parts)
    if (size_t length = ip_length(part)) {
      part.resize(length);
      in += length;
      coalescer.add(part);
    }
  for (size_t i = 0; i < coalescer.size(); ++i) {
    auto frame = coalescer.frame(i);
    for (size_t j = 1; j < frame.size(); ++j) out += frame[j].iov_len;
  }
  if (out > in) abort();
  return 0;
}
