#include "wg/device.h"

#include "base/error.h"
#include "unit/wg/lab.h"
#include "wg/handover.h"

using namespace rayctl;
using namespace rayctl::wg;
using namespace std::chrono_literals;

TEST_CASE("the first packet waits for the handshake and arrives", "[wg]") {
  for (Cipher cipher : {Cipher::chacha20poly1305, Cipher::aes256gcm}) {
    Lab lab(cipher);
    lab.transfer(lab.a, lab.b, to_b);
    REQUIRE(lab.b.delivered.size() == 1);
    CHECK(lab.b.delivered[0] == to_b);
    CHECK(lab.peer_of_a().handshakes == 1);
    CHECK(lab.peer_of_b().handshakes == 1);
    lab.transfer(lab.b, lab.a, to_a);
    CHECK(lab.a.delivered == std::vector<Raw>{to_a});
    CHECK(lab.peer_of_b().handshakes == 1);
  }
}

TEST_CASE("both ends beginning at once have a session at once", "[wg]") {
  Lab lab;
  CHECK(lab.send(lab.a, to_b).empty());
  CHECK(lab.send(lab.b, to_a).empty());
  lab.settle();
  CHECK(lab.a.delivered.size() == 1);
  CHECK(lab.b.delivered.size() == 1);
  lab.transfer(lab.a, lab.b, to_b);
  lab.transfer(lab.b, lab.a, to_a);
  CHECK(lab.a.delivered.size() == 2);
  CHECK(lab.b.delivered.size() == 2);
}

TEST_CASE("the initiator asks for new keys after 120 s; no packet is lost over ten minutes", "[wg]") {
  Lab lab;
  size_t sent = 0;
  for (int i = 0; i < 1200; ++i) {
    lab.transfer(lab.a, lab.b, to_b);
    lab.transfer(lab.b, lab.a, to_a);
    ++sent;
    lab.pass(500ms);
  }
  CHECK(lab.a.delivered.size() == sent);
  CHECK(lab.b.delivered.size() == sent);
  CHECK(lab.peer_of_a().handshakes == 5);
  CHECK(lab.peer_of_b().handshakes == 5);
}

TEST_CASE("rekey_after shortens a session's life", "[wg]") {
  Lab lab;
  lab.table_a.rekey_after = 10s;
  lab.use_tables();
  for (int i = 0; i < 31; ++i) {
    lab.transfer(lab.a, lab.b, to_b);
    lab.pass(1s);
  }
  CHECK(lab.b.delivered.size() == 31);
  CHECK(lab.peer_of_a().handshakes >= 3);
}

TEST_CASE("after 180 s without a new handshake nothing is sent or taken with old keys", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  Raw early = lab.send(lab.a, to_b);
  lab.deaf_a = lab.deaf_b = true;
  lab.pass(179s);
  CHECK_FALSE(lab.send(lab.a, to_b).empty());
  lab.pass(2s);
  CHECK(lab.send(lab.a, to_b).empty());
  size_t before = lab.b.delivered.size();
  lab.receive(lab.b, lab.a.at, early);
  CHECK(lab.b.delivered.size() == before);
  CHECK(lab.peer_of_b().drops.of(Drop::expired_session) == 1);
  lab.pass(540s);
  CHECK_FALSE(lab.peer_of_a().current);  // wiped
  CHECK_FALSE(lab.peer_of_b().current);
  lab.deaf_a = lab.deaf_b = false;
  lab.transfer(lab.a, lab.b, to_b);
  CHECK(lab.b.delivered.size() > before);
}

TEST_CASE("keys end before their counter does", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  lab.peer_of_a().current->next_counter = rekey_after_messages + 1;
  lab.now += 6s;  // two initiations are 5 s apart
  lab.transfer(lab.a, lab.b, to_b);
  CHECK(lab.peer_of_a().handshakes == 2);
  lab.peer_of_a().current->next_counter = reject_after_messages - 100;
  lab.now += 6s;
  CHECK(lab.send(lab.a, to_b).empty());
  lab.settle();
  CHECK(lab.peer_of_a().handshakes == 3);
}

TEST_CASE("a silent peer is asked again every 5 s, and what waits is thrown away after 90 s", "[wg]") {
  Lab lab;
  lab.deaf_b = true;
  lab.transfer(lab.a, lab.b, to_b);
  lab.pass(89s);
  CHECK(lab.messages >= 17);
  CHECK(lab.messages <= 19);
  CHECK(lab.peer_of_a().waiting.size() == 1);
  lab.pass(30s);
  CHECK(lab.peer_of_a().waiting.empty());
  CHECK(lab.peer_of_a().drops.of(Drop::queue_full) == 1);
  int before = lab.messages;
  lab.pass(60s);
  CHECK(lab.messages == before);
  lab.deaf_b = false;
  lab.transfer(lab.a, lab.b, to_b);  // the next packet begins anew
  CHECK(lab.b.delivered.size() == 1);
}

TEST_CASE("what waits is bounded, the oldest go first", "[wg]") {
  Lab lab;
  lab.deaf_b = true;
  for (uint8_t i = 0; i < 255; ++i) lab.send(lab.a, to_b);
  for (int i = 0; i < 100; ++i) lab.send(lab.a, packet_to("10.64.0.2", "10.64.0.67", 60000));
  CHECK(lab.peer_of_a().waiting_bytes <= (1 << 20));
  CHECK(lab.peer_of_a().waiting.size() <= 256);
  CHECK(lab.peer_of_a().drops.of(Drop::queue_full) + lab.peer_of_a().waiting.size() == 355);
}

TEST_CASE("a peer that only receives says that it lives; one that hears nothing begins anew", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  lab.pass(1s);
  int before = lab.messages;
  lab.transfer(lab.a, lab.b, to_b);
  lab.pass(12s);
  CHECK(lab.messages == before + 1);  // b's keepalive
  lab.deaf_a = true;
  lab.transfer(lab.a, lab.b, to_b);
  lab.pass(16s);
  CHECK(lab.peer_of_a().initiator);
  lab.deaf_a = false;
  lab.pass(6s);
  CHECK(lab.peer_of_a().handshakes == 2);
}

TEST_CASE("replays, forgeries, strangers and foreign sources are counted and dropped", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  Raw message = lab.send(lab.a, to_b);
  lab.receive(lab.b, lab.a.at, message);
  size_t before = lab.b.delivered.size();
  lab.receive(lab.b, lab.a.at, message);
  CHECK(lab.peer_of_b().drops.of(Drop::replayed) == 1);
  message = lab.send(lab.a, to_b);
  message[20] ^= 1;
  lab.receive(lab.b, parse_endpoint("198.51.100.1:9"), message);
  CHECK(lab.peer_of_b().drops.of(Drop::not_authentic) == 1);
  CHECK(lab.peer_of_b().endpoint == lab.a.at);  // a forgery moves nobody
  message[4] ^= 1;
  lab.receive(lab.b, lab.a.at, message);
  CHECK(lab.b.device.drops.of(Drop::unknown_session) == 1);
  Peer& peer = lab.peer_of_a();
  lab.receive(lab.b, lab.a.at, Lab::seal(*peer.current, packet_to("10.64.0.70", "10.64.0.66")));
  CHECK(lab.peer_of_b().drops.of(Drop::wrong_source) == 1);
  lab.receive(lab.b, lab.a.at, Lab::seal(*peer.current, Raw(48, 0)));
  CHECK(lab.peer_of_b().drops.of(Drop::bad_inner) == 1);
  Raw longer = to_b;
  store_be16(&longer[2], 2000);  // says more than there is
  lab.receive(lab.b, lab.a.at, Lab::seal(*peer.current, longer));
  CHECK(lab.peer_of_b().drops.of(Drop::bad_inner) == 2);
  CHECK(lab.b.delivered.size() == before);
  CHECK_FALSE(lab.a.device.route(packet_to("10.64.0.2", "192.0.2.9")));
  CHECK(lab.a.device.drops.of(Drop::no_peer) == 1);
  for (Raw garbage : {Raw(4, 0), Raw(3, 1), Raw(148, 7), Raw(0)})
    lab.b.device.receive_message(garbage, lab.a.at, lab.moment());
  CHECK(lab.b.device.drops.of(Drop::unknown_message) == 4);
}

TEST_CASE("a wrong key, preshared key or cipher makes no session, and says which", "[wg]") {
  {
    Lab lab;
    lab.table_a.private_key = fixed_secret("stranger");
    lab.use_tables();
    lab.transfer(lab.a, lab.b, to_b);
    CHECK(lab.b.device.drops.of(Drop::unknown_peer) == 1);
  }
  {
    Lab lab;
    lab.table_a.peers[0].preshared_key = {};
    lab.use_tables();
    lab.transfer(lab.a, lab.b, to_b);
    CHECK(lab.peer_of_a().drops.of(Drop::bad_handshake) == 1);
    CHECK(lab.b.delivered.empty());
  }
  {
    Lab lab;
    lab.table_a.peers[0].cipher = Cipher::aes256gcm;
    lab.use_tables();
    lab.transfer(lab.a, lab.b, to_b);
    CHECK(lab.b.device.drops.of(Drop::bad_handshake) == 1);  // b has no peer with AES: it doesn't even try
    TunnelPeer other = lab.table_a.peers[0];
    other.public_key = DhKey(fixed_secret("third")).public_key();
    other.allowed_ips.clear();
    lab.table_b.peers.push_back(other);
    lab.use_tables();
    lab.now += 6s;
    lab.transfer(lab.a, lab.b, to_b);
    CHECK(lab.peer_of_b().drops.of(Drop::wrong_cipher) == 1);
    CHECK(lab.b.delivered.empty());
  }
}

TEST_CASE("an initiation is taken once, and no more often than every 20 ms", "[wg]") {
  Lab lab;
  lab.send(lab.a, to_b);
  Raw initiation = lab.a.device.outbox[0].bytes;
  lab.settle();
  lab.now += 1s;
  lab.receive(lab.b, lab.a.at, initiation);
  CHECK(lab.peer_of_b().drops.of(Drop::old_handshake) == 1);
  initiation[140] ^= 1;  // MAC1 is before, MAC2 counts only under load
  initiation[120] ^= 1;
  lab.receive(lab.b, lab.a.at, initiation);
  CHECK(lab.b.device.drops.of(Drop::bad_mac1) == 1);
}

TEST_CASE("a clock that was set back doesn't make us mute", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  lab.now += 200s;
  Moment past{lab.now, epoch - 1000000000};
  Peer* peer = lab.a.device.route(to_b);
  CHECK_FALSE(lab.a.device.session_for_sending(*peer, past));
  lab.settle();
  CHECK(lab.peer_of_b().drops.of(Drop::old_handshake) == 0);
  CHECK(lab.peer_of_a().handshakes == 2);
}

TEST_CASE("a peer that moves is followed, and the table's address is tried again when it stays silent",
          "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  Endpoint elsewhere = parse_endpoint("198.51.100.7:4000");
  lab.receive(lab.b, elsewhere, lab.send(lab.a, to_b));
  CHECK(lab.peer_of_b().endpoint == elsewhere);
  lab.b.device.set_table(lab.table_b, lab.moment());  // the same table changes nothing
  CHECK(lab.peer_of_b().endpoint == elsewhere);
  lab.deaf_a = true;
  lab.pass(1s);
  lab.transfer(lab.b, lab.a, to_a);
  lab.pass(40s);
  CHECK(lab.peer_of_b().endpoint == lab.a.at);
  lab.table_b.peers[0].endpoint = parse_endpoint("192.0.2.9:1");
  lab.b.device.set_table(lab.table_b, lab.moment());
  CHECK(lab.peer_of_b().endpoint == lab.table_b.peers[0].endpoint);
}

TEST_CASE("under load handshakes need a cookie", "[wg]") {
  Lab lab;
  lab.send(lab.a, to_b);
  Raw initiation = lab.a.device.outbox[0].bytes;
  lab.a.device.outbox.clear();
  Endpoint flooder = parse_endpoint("203.0.113.5:99");
  for (int i = 0; i < 5000; ++i) lab.b.device.receive_message(initiation, flooder, lab.moment());
  CHECK(lab.b.device.drops.of(Drop::handshake_queue) == 5000 - 4096);
  lab.b.device.work_handshakes(1, lab.moment());
  CHECK(lab.b.device.drops.of(Drop::cookie_sent) == 4096);
  REQUIRE(lab.b.device.outbox.size() == 4096);
  CHECK(lab.b.device.outbox[0].bytes.size() == cookie_size);
  CHECK(lab.b.device.outbox[0].to == flooder);
  // an honest peer is sent one too, and succeeds with it 5 s later, still under load
  lab.b.device.outbox.clear();
  lab.pass(6s);
  for (int i = 0; i < 600; ++i) lab.b.device.receive_message(initiation, flooder, lab.moment());
  lab.b.device.work_handshakes(1, lab.moment());
  lab.b.device.outbox.clear();
  lab.now += 6s;
  lab.a.device.run_timers(lab.moment());
  for (int i = 0; i < 600; ++i) lab.b.device.receive_message(initiation, flooder, lab.moment());
  lab.settle();
  size_t before = lab.b.delivered.size();
  lab.pass(7s);
  CHECK(lab.b.delivered.size() >= before);
  CHECK(lab.b.delivered.size() == 1);
}

TEST_CASE("peers that leave the table are gone, those that stay keep their session", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  Raw message = lab.send(lab.a, to_b);
  TunnelPeer other = lab.table_b.peers[0];
  other.public_key = DhKey(fixed_secret("third")).public_key();
  other.allowed_ips = {net::parse_subnet("10.64.0.128/26")};
  lab.table_b.peers.insert(lab.table_b.peers.begin(), other);
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.receive(lab.b, lab.a.at, message);
  CHECK(lab.b.delivered.size() == 2);
  lab.table_b.peers.pop_back();
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.receive(lab.b, lab.a.at, lab.send(lab.a, to_b));
  CHECK(lab.b.delivered.size() == 2);
  CHECK(lab.b.device.drops.of(Drop::unknown_session) == 1);
  CHECK_FALSE(lab.b.device.route(to_a));
  lab.b.device.set_table({.private_key = fixed_secret("responder")}, lab.moment());
  CHECK_FALSE(lab.b.device.next_timer());
}

TEST_CASE("our own new key retires the sessions; what is on its way still arrives", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  Raw late = lab.send(lab.b, to_a);
  lab.table_a.private_key = fixed_secret("rotated");
  lab.a.device.set_table(lab.table_a, lab.moment());
  lab.receive(lab.a, lab.b.at, late);
  CHECK(lab.a.delivered.size() == 1);
  CHECK(lab.send(lab.a, to_b).empty());
  lab.table_b.peers[0].public_key = DhKey(fixed_secret("rotated")).public_key();
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.settle();
  CHECK(lab.b.delivered.size() == 2);
}

TEST_CASE("a successor goes on with the sessions of its predecessor", "[wg]") {
  Lab lab(Cipher::aes256gcm);
  lab.transfer(lab.a, lab.b, to_b);
  Raw on_its_way = lab.send(lab.a, to_b), replayed = lab.send(lab.a, to_b);
  lab.receive(lab.b, lab.a.at, replayed);
  std::string state = DeviceState::save(lab.b.device);
  End successor;
  successor.at = lab.b.at;
  successor.device.set_table(lab.table_b, lab.moment());
  DeviceState::load(successor.device, state, lab.moment());
  lab.receive(successor, lab.a.at, on_its_way);
  lab.receive(successor, lab.a.at, replayed);
  CHECK(successor.delivered.size() == 1);
  CHECK(successor.device.peers()[0]->drops.of(Drop::replayed) == 1);
  CHECK(successor.device.peers()[0]->handshakes == 1);
  Raw answer = lab.send(successor, to_a);
  REQUIRE_FALSE(answer.empty());
  lab.receive(lab.a, lab.b.at, answer);
  CHECK(lab.a.delivered.size() == 1);
  CHECK_THROWS_AS(DeviceState::load(successor.device, "nonsense", lab.moment()), Error);
  CHECK_THROWS_AS(DeviceState::load(successor.device, state.substr(0, state.size() / 2), lab.moment()),
                  Error);
}

TEST_CASE("a peer behind a NAT is reached by its keepalives", "[wg]") {
  Lab lab;
  lab.table_b.peers[0].endpoint.reset();
  lab.table_a.peers[0].keepalive = 25s;
  lab.use_tables();
  lab.transfer(lab.b, lab.a, to_a);
  lab.pass(0s);
  Lab behind;
  behind.b.device.set_table(lab.table_b, behind.moment());
  CHECK(lab.peer_of_b().drops.of(Drop::no_endpoint) == 0);  // it was learned by the first table
  End fresh;
  fresh.device.set_table(lab.table_b, lab.moment());
  Peer* peer = fresh.device.route(to_a);
  CHECK_FALSE(fresh.device.session_for_sending(*peer, lab.moment()));
  fresh.device.hold(*peer, to_a);
  CHECK(peer->drops.of(Drop::no_endpoint) == 1);
  lab.pass(26s);
  lab.transfer(lab.b, lab.a, to_a);
  CHECK(lab.a.delivered.size() >= 1);
}
