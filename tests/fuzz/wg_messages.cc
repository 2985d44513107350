// Datagrams from whoever can reach a tunnel's port: handshakes that know our public key (MAC1 is put right,
// or nothing else would be reached), cookies, and data of a live session, sealed so that what is inside is
// looked at too.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "wg/device.h"
#include "wg/handover.h"
#include "wg/offload.h"

using namespace rayctl;
using namespace rayctl::wg;

namespace {

Secret key_of(uint8_t seed) {
  Secret key;
  key.bytes.fill(seed);
  return key;
}

struct Pair {
  Device a, b;
  Endpoint at_a = parse_endpoint("192.0.2.1:1"), at_b = parse_endpoint("192.0.2.2:2");
  Time now = std::chrono::seconds(1000);

  Pair() {
    set(a, 1, 2, at_b, "10.0.2.0/24");
    set(b, 2, 1, at_a, "10.0.1.0/24");
    const uint8_t packet[20] = {0x45, 0, 0, 20, 0, 0, 0, 0, 64, 0, 0, 0, 10, 0, 1, 1, 10, 0, 2, 1};
    a.session_for_sending(*a.route(packet), moment());
    for (int i = 0; i < 4; ++i) {
      carry(a, b, at_a);
      carry(b, a, at_b);
    }
    if (!a.peers()[0]->current || !b.peers()[0]->current) abort();
  }
  void set(Device& device, uint8_t own, uint8_t other, const Endpoint& endpoint, const char* subnet) {
    TunnelTable table;
    table.private_key = key_of(own);
    TunnelPeer peer;
    peer.public_key = DhKey(key_of(other)).public_key();
    peer.endpoint = endpoint;
    peer.allowed_ips = {net::parse_subnet(subnet)};
    table.peers = {peer};
    device.set_table(table, moment());
  }
  Moment moment() const { return {now, 1700000000000000000 + static_cast<uint64_t>(now.count())}; }
  void carry(Device& from, Device& to, const Endpoint& source) {
    for (Datagram& datagram : std::exchange(from.outbox, {})) {
      if (load32(datagram.bytes.data()) == 4)
        to.receive_data(datagram.bytes, source, moment());
      else
        to.receive_message(datagram.bytes, source, moment());
      to.work_handshakes(10, moment());
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<Pair> both;
  if (size < 1 || size > 4096) return 0;
  if (!both || !both->b.peers()[0]->current) both = std::make_unique<Pair>();
  Pair& pair = *both;
  pair.now += std::chrono::milliseconds(30);
  std::vector<uint8_t> bytes(data + 1, data + size);
  Moment now = pair.moment();
  if (data[0] & 1) {  // inside of a session
    Session& session = *pair.a.peers()[0]->current;
    std::vector<uint8_t> message(data_header_size + bytes.size() + tag_size);
    std::copy(bytes.begin(), bytes.end(), message.begin() + data_header_size);
    session.born = now.boot;
    pair.b.peers()[0]->current->born = now.boot;
    session.seal(message.data(), bytes.size());
    auto delivery = pair.b.receive_data(message, pair.at_a, now);
    if (delivery) {
      if (delivery->packet.size() > bytes.size()) abort();
      Coalescer coalescer(Coalescer::Udp::together);
      std::vector<uint8_t> copy(delivery->packet.begin(), delivery->packet.end());
      coalescer.add(delivery->packet);
      coalescer.add(copy);
      size_t total = 0;
      for (size_t i = 0; i < coalescer.size(); ++i)
        for (const iovec& part : coalescer.frame(i)) total += part.iov_len;
      if (total > 2 * (copy.size() + sizeof(VirtioHeader))) abort();
    }
  } else if (bytes.size() >= 4 && load32(bytes.data()) == 4) {
    pair.b.receive_data(bytes, pair.at_a, now);
  } else {
    if (bytes.size() == initiation_size || bytes.size() == response_size) {
      Hash key = blake2s({reinterpret_cast<const uint8_t*>("mac1----"), 8}, pair.b.public_key());
      Mac mac = keyed_blake2s(key, {bytes.data(), bytes.size() - macs_size});
      std::copy(mac.begin(), mac.end(), bytes.end() - macs_size);
    }
    pair.b.receive_message(bytes, pair.at_a, now);
    pair.b.work_handshakes(1, now);
    pair.b.run_timers(now);
  }
  pair.b.outbox.clear();
  pair.b.ready.clear();
  return 0;
}
