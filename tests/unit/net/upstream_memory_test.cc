#include "net/upstream_memory.h"

#include <catch2/catch.hpp>

using namespace rayctl::net;
using namespace std::chrono_literals;

namespace {

const Upstream a = parse_upstream("192.0.2.1"), b = parse_upstream("192.0.2.2#5353"),
               c = parse_upstream("fd00::1");
const std::vector<Upstream> all{a, b, c};

struct Lab {
  UpstreamMemory memory = {};
  UpstreamMemory::Clock::time_point now = {};
  std::vector<Upstream> order(DnsTransport transport = DnsTransport::udp) {
    return memory.order(all, transport, now);
  }
  void silent(const Upstream& server) { memory.silent(server, DnsTransport::udp, now); }
};

}  // namespace

TEST_CASE("a silent upstream is asked last, and for longer each time", "[net]") {
  Lab lab;
  CHECK(lab.order() == all);
  lab.silent(a);
  CHECK(lab.order() == std::vector{b, c, a});
  CHECK(lab.order(DnsTransport::tcp) == all);  // what drops UDP may well pass TCP
  for (auto pause : {5s, 10s, 20s, 40s, 60s, 60s}) {
    lab.now += pause - 1s;
    CHECK(lab.order() == std::vector{b, c, a});
    lab.now += 1s;
    CHECK(lab.order() == all);                   // one query tries it …
    CHECK(lab.order() == std::vector{b, c, a});  // … and the others don't wait for that
    lab.now += 2s;
    lab.silent(a);
    CHECK(lab.order() == std::vector{b, c, a});
  }
}

TEST_CASE("queries that waited together are one finding", "[net]") {
  Lab lab;
  for (int i = 0; i < 100; ++i) lab.silent(b);
  lab.now += 5s;
  CHECK(lab.order() == all);
}

TEST_CASE("an answer restores a silent upstream", "[net]") {
  Lab lab;
  lab.silent(a);
  lab.silent(b);
  CHECK(lab.order() == std::vector{c, a, b});
  lab.memory.answered(a, DnsTransport::udp);
  CHECK(lab.order() == std::vector{a, c, b});
  lab.silent(a);  // and the next silence is a first one
  lab.now += 5s;
  CHECK(lab.order() == all);
}

TEST_CASE("a trial that nobody reports is repeated", "[net]") {
  Lab lab;
  lab.silent(a);
  lab.now += 5s;
  CHECK(lab.order() == all);
  lab.now += 5s;
  CHECK(lab.order() == all);
}

TEST_CASE("when all are silent they are asked all the same; those that are gone are forgotten", "[net]") {
  Lab lab;
  for (const Upstream& server : all) lab.silent(server);
  CHECK(lab.order() == all);
  lab.memory.keep({b, c});
  lab.memory.keep(all);
  CHECK(lab.order() == all);  // a is as new
  lab.now += 1s;
  CHECK(lab.order().front() == a);
}
