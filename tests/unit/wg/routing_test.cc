#include <random>
#include <set>

#include "unit/wg/vectors.h"
#include "wg/allowed_ips.h"
#include "wg/replay_window.h"

using namespace rayctl;
using namespace rayctl::wg;

TEST_CASE("the longest prefix wins", "[wg]") {
  AllowedIps ips;
  ips.insert(net::parse_subnet("0.0.0.0/0"), 0);
  ips.insert(net::parse_subnet("10.64.0.0/12"), 1);
  ips.insert(net::parse_subnet("10.64.0.64/26"), 2);
  ips.insert(net::parse_subnet("10.64.0.65/32"), 3);
  ips.insert(net::parse_subnet("fd00::/8"), 4);
  ips.insert(net::parse_subnet("fd00::1/128"), 5);
  auto find = [&](const char* text) {
    net::Address address = net::parse_address(text);
    return address.is_v4() ? ips.find_v4(address.bytes.data()) : ips.find_v6(address.bytes.data());
  };
  CHECK(find("192.0.2.1") == 0);
  CHECK(find("10.79.255.255") == 1);
  CHECK(find("10.80.0.0") == 0);
  CHECK(find("10.64.0.64") == 2);
  CHECK(find("10.64.0.65") == 3);
  CHECK(find("fd12::9") == 4);
  CHECK(find("fd00::1") == 5);
  CHECK(find("2001:db8::1") == AllowedIps::none);
  ips.insert(net::parse_subnet("10.64.0.64/26"), 7);  // moves
  CHECK(find("10.64.0.70") == 7);
}

TEST_CASE("the trie agrees with a search of all subnets", "[wg]") {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    AllowedIps ips;
    std::vector<std::pair<net::Subnet, int>> all;
    for (int peer = 0; peer < 200; ++peer) {
      // few distinct bits, so that prefixes nest and share
      net::Address address = net::ipv4(0x0a000000 | (random() & 0x00030303));
      net::Subnet subnet = net::subnet_of(address, static_cast<int>(random() % 33));
      std::erase_if(all, [&](const auto& entry) { return entry.first == subnet; });
      all.push_back({subnet, peer});
      ips.insert(subnet, peer);
    }
    for (int i = 0; i < 500; ++i) {
      net::Address address = net::ipv4(0x0a000000 | (random() & 0x00070707));
      int best = AllowedIps::none, length = -1;
      for (const auto& [subnet, peer] : all)
        if (subnet.length > length && net::contains(subnet, address)) {
          best = peer;
          length = subnet.length;
        }
      CHECK(ips.find_v4(address.bytes.data()) == best);
    }
  }
}

TEST_CASE("the window takes each counter once", "[wg]") {
  ReplayWindow window;
  CHECK(window.take(0));
  CHECK_FALSE(window.take(0));
  CHECK(window.take(5));
  CHECK(window.take(4));
  CHECK_FALSE(window.take(5));
  CHECK_FALSE(window.take(4));
  uint64_t top = 5 + ReplayWindow::size;
  CHECK(window.take(top));
  CHECK_FALSE(window.take(5));  // seen, and too old
  CHECK(window.take(6));        // the oldest that still may come
  CHECK_FALSE(window.take(6));
  CHECK(window.take(top + 1000000));
  CHECK_FALSE(window.take(top + 1000000 - ReplayWindow::size));
  CHECK(window.take(top + 1000001 - ReplayWindow::size));
}

TEST_CASE("the window agrees with a set, in any order", "[wg]") {
  std::mt19937_64 random(2);
  ReplayWindow window;
  std::set<uint64_t> seen;
  uint64_t highest = 0, base = 1000;
  for (int i = 0; i < 200000; ++i) {
    base += random() % 3;
    if (random() % 5000 == 0) base += random() % 20000;
    uint64_t counter = base - std::min<uint64_t>(base, random() % 9000);
    bool expected = (counter > highest || highest - counter < ReplayWindow::size) && !seen.contains(counter);
    bool taken = window.take(counter);
    if (taken != expected) FAIL("counter " << counter << " with highest " << highest);
    if (taken) seen.insert(counter);
    highest = std::max(highest, counter);
  }
}
