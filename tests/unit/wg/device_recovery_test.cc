// How a device comes back: after a restart, a hand-over, a lost session.
#include "unit/wg/lab.h"
#include "wg/handover.h"

using namespace rayctl;
using namespace rayctl::wg;

TEST_CASE("whoever gets data of a session that it lost begins a new one with the sender", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  lab.b.device = Device();  // killed, started again
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.receive(lab.b, parse_endpoint("203.0.113.1:1"), lab.send(lab.a, to_b));
  CHECK(lab.b.device.outbox.empty());  // nobody's endpoint
  lab.now += 1s;
  lab.receive(lab.b, lab.a.at, lab.send(lab.a, to_b));
  CHECK(lab.b.device.drops.of(Drop::unknown_session) == 2);
  lab.settle();
  CHECK(lab.peer_of_a().handshakes == 2);
  lab.transfer(lab.a, lab.b, to_b);
  CHECK(lab.b.delivered.size() == 2);
  // stray data makes no more than one initiation in 5 s
  lab.b.device = Device();
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.deaf_a = true;
  int before = lab.messages;
  for (int i = 0; i < 40; ++i) {
    lab.now += 100ms;
    lab.receive(lab.b, lab.a.at, lab.send(lab.a, to_b));
    lab.settle();
  }
  CHECK(lab.messages - before == 1);
}

TEST_CASE("a restarted tunnel begins with the peers that it talked to, where it last saw them", "[wg]") {
  Lab lab;
  lab.table_b.peers[0].endpoint.reset();
  lab.use_tables();
  lab.transfer(lab.a, lab.b, to_b);
  PublicKey key = lab.peer_of_b().config.public_key;
  lab.b.device = Device();
  lab.b.device.set_table(lab.table_b, lab.moment());
  lab.b.device.recall({{key, lab.a.at}, {PublicKey{}, lab.a.at}}, lab.moment());
  lab.settle();
  CHECK(lab.peer_of_b().handshakes == 1);
  lab.transfer(lab.b, lab.a, to_a);
  CHECK(lab.a.delivered.size() == 1);
}

TEST_CASE("a hand-over that nobody confirmed ends the sessions: no counter is used twice", "[wg]") {
  Lab lab;
  lab.transfer(lab.a, lab.b, to_b);
  lab.b.device.forget_sessions();
  CHECK(lab.send(lab.b, to_a).empty());
  lab.now += 6s;
  lab.settle();
  lab.transfer(lab.b, lab.a, to_a);
  CHECK(lab.a.delivered.size() >= 1);
}
