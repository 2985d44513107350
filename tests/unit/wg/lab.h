// Two devices and a network that only a test has, with a clock that moves when it is told to.
#pragma once

#include <utility>

#include "unit/wg/vectors.h"
#include "wg/device.h"
#include "wg/ip_packet.h"

namespace rayctl::wg {

using namespace std::chrono_literals;

constexpr uint64_t epoch = 1700000000ULL * 1000000000;

inline Raw packet_to(const char* source, const char* destination, size_t size = 84) {
  Raw packet(size);
  packet[0] = 0x45;
  store_be16(&packet[2], static_cast<uint16_t>(size));
  std::copy_n(net::parse_address(source).bytes.begin(), 4, &packet[12]);
  std::copy_n(net::parse_address(destination).bytes.begin(), 4, &packet[16]);
  return packet;
}

// One end of a network that only this test has.
struct End {
  Device device;
  Endpoint at;
  std::vector<Raw> delivered;
};

struct Lab {
  Time now = 1000s;
  End a, b;
  TunnelTable table_a, table_b;
  bool deaf_a = false, deaf_b = false;  // what is sent to it gets lost
  int messages = 0;

  explicit Lab(Cipher cipher = Cipher::chacha20poly1305) {
    table_a = table("initiator", "responder", "192.0.2.2:51820", "10.64.0.64/26", cipher);
    table_b = table("responder", "initiator", "192.0.2.1:51820", "10.64.0.0/26", cipher);
    a.at = parse_endpoint("192.0.2.1:51820");
    b.at = parse_endpoint("192.0.2.2:51820");
    use_tables();
  }
  static TunnelTable table(const char* own, const char* peer, const char* endpoint, const char* subnet,
                           Cipher cipher) {
    TunnelTable table;
    table.private_key = fixed_secret(own);
    TunnelPeer other;
    other.public_key = DhKey(fixed_secret(peer)).public_key();
    other.preshared_key = fixed_secret("preshared");
    other.endpoint = parse_endpoint(endpoint);
    other.allowed_ips = {net::parse_subnet(subnet)};
    other.cipher = cipher;
    table.peers = {other};
    return table;
  }
  Moment moment() const { return {now, epoch + static_cast<uint64_t>(now.count())}; }
  void use_tables() {
    a.device.set_table(table_a, moment());
    b.device.set_table(table_b, moment());
  }

  void receive(End& to, const Endpoint& from, Raw bytes) {
    if (load32(bytes.data()) == 4) {
      if (auto delivery = to.device.receive_data(bytes, from, moment()))
        to.delivered.push_back({delivery->packet.begin(), delivery->packet.end()});
    } else {
      to.device.receive_message(bytes, from, moment());
    }
    to.device.work_handshakes(100, moment());
  }

  static Raw seal(Session& session, const Raw& packet) {
    Raw message(data_header_size + packet.size() + tag_size);
    std::copy(packet.begin(), packet.end(), message.begin() + data_header_size);
    session.seal(message.data(), packet.size());
    return message;
  }

  // What `from` would send for this packet; empty when it has to wait.
  Raw send(End& from, const Raw& packet) {
    Peer* peer = from.device.route(packet);
    REQUIRE(peer);
    Session* session = from.device.session_for_sending(*peer, moment());
    if (!session) {
      from.device.hold(*peer, packet);
      return {};
    }
    Raw message = seal(*session, packet);
    from.device.sent_data(*peer, *session, message.size(), moment());
    return message;
  }

  // Carries messages until nobody has any.
  void settle() {
    for (bool busy = true; busy;) {
      busy = false;
      for (auto [from, to, deaf] : {std::tuple{&a, &b, deaf_b}, std::tuple{&b, &a, deaf_a}}) {
        std::vector<Raw> out;
        for (Datagram& datagram : std::exchange(from->device.outbox, {})) out.push_back(datagram.bytes);
        for (Peer* peer : std::exchange(from->device.ready, {}))
          while (!peer->waiting.empty()) {
            Session* session = from->device.session_for_sending(*peer, moment());
            if (!session) break;
            out.push_back(seal(*session, from->device.take_waiting(*peer)));
          }
        for (Raw& bytes : out) {
          busy = true;
          ++messages;
          if (!deaf) receive(*to, from->at, bytes);
        }
      }
    }
  }

  void transfer(End& from, End& to, const Raw& packet, bool deaf = false) {
    Raw message = send(from, packet);
    if (!message.empty() && !deaf) receive(to, from.at, message);
    settle();
  }

  void pass(Time time) {
    for (Time end = now + time;;) {
      Time next = end;
      for (End* e : {&a, &b})
        if (auto timer = e->device.next_timer()) next = std::min(next, std::max(*timer, now));
      now = next;
      a.device.run_timers(moment());
      b.device.run_timers(moment());
      settle();
      if (now >= end) return;
    }
  }
  Peer& peer_of_a() { return *a.device.peers()[0]; }
  Peer& peer_of_b() { return *b.device.peers()[0]; }
};

inline const Raw to_b = packet_to("10.64.0.2", "10.64.0.66"), to_a = packet_to("10.64.0.66", "10.64.0.2");

}  // namespace rayctl::wg
