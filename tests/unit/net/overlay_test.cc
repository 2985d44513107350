#include "net/overlay.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "net/address_plan.h"
#include "net/path_mtu.h"

using namespace rayctl;
using namespace rayctl::net;
using Catch::Matchers::Contains;

namespace {

const AddressPlan plan{parse_subnet("10.64.0.0/12"), 26};

Peer peer(uint32_t index) {
  Subnet subnet = node_subnet(plan, index);
  return {"node " + std::to_string(index), subnet, ipv4(0xc0000200 + index), vtep_mac(subnet)};
}

Overlay overlay(std::vector<Peer> peers) {
  return {.underlay = ipv4(0xc0000200),
          .pool = plan.pool,
          .subnet = node_subnet(plan, 0),
          .peers = std::move(peers)};
}

OverlayState state(std::vector<Peer> peers) {
  return overlay_state(overlay(std::move(peers)), 2, 1450);
}

std::vector<std::string> texts(const OverlayState& wanted, const OverlayState& found) {
  std::vector<std::string> lines;
  for (const OverlayChange& change : diff(wanted, found, plan.pool)) lines.push_back(describe(change));
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("an overlay is built in an order that never asks by ARP", "[net]") {
  CHECK(texts(state({peer(1)}), {}) ==
        Lines{"add route unreachable 10.64.0.0/12",
              "create link rayctl.4242 (VXLAN 4242, UDP port 8472, from 192.0.2.0, MTU 1450)",
              "add address 10.64.0.0", "add neighbour 10.64.0.64 at 02:76:0a:40:00:40",
              "add forward 02:76:0a:40:00:40 to 192.0.2.1", "add route 10.64.0.64/26 via 10.64.0.64"});
  CHECK(texts(state({peer(1), peer(2)}), state({peer(2), peer(1)})).empty());
}

TEST_CASE("a peer comes, changes and goes", "[net]") {
  CHECK(texts(state({peer(1), peer(2)}), state({peer(1)})) ==
        Lines{"add neighbour 10.64.0.128 at 02:76:0a:40:00:80", "add forward 02:76:0a:40:00:80 to 192.0.2.2",
              "add route 10.64.0.128/26 via 10.64.0.128"});
  CHECK(texts(state({peer(1)}), state({peer(1), peer(2)})) ==
        Lines{"delete route 10.64.0.128/26 via 10.64.0.128", "delete forward 02:76:0a:40:00:80 to 192.0.2.2",
              "delete neighbour 10.64.0.128 at 02:76:0a:40:00:80"});
  Peer moved = peer(1);
  moved.underlay = parse_address("198.51.100.7");  // replaced in place: nothing is without a way in between
  CHECK(texts(state({moved}), state({peer(1)})) == Lines{"add forward 02:76:0a:40:00:40 to 198.51.100.7"});
  Peer renewed = peer(1);
  renewed.mac = parse_mac("02:00:00:00:00:09");
  CHECK(texts(state({renewed}), state({peer(1)})) == Lines{"delete forward 02:76:0a:40:00:40 to 192.0.2.1",
                                                           "add neighbour 10.64.0.64 at 02:00:00:00:00:09",
                                                           "add forward 02:00:00:00:00:09 to 192.0.2.1"});
}

TEST_CASE("the link is kept when it can be, and everything is replayed when it can't", "[net]") {
  OverlayState wanted = state({peer(1)}), found = wanted;
  found.link->mtu = 1400;
  CHECK(texts(wanted, found) == Lines{"set link rayctl.4242, MTU 1450"});
  found = wanted;
  found.link->mac = parse_mac("02:00:00:00:00:01");
  CHECK(texts(wanted, found) == Lines{"set link rayctl.4242, MAC 02:76:0a:40:00:00",
                                      "add neighbour 10.64.0.64 at 02:76:0a:40:00:40"});
  found = wanted;
  found.link->port = 4789;
  CHECK(texts(wanted, found) ==
        Lines{"delete link rayctl.4242",
              "create link rayctl.4242 (VXLAN 4242, UDP port 8472, from 192.0.2.0, MTU 1450)",
              "add address 10.64.0.0", "add neighbour 10.64.0.64 at 02:76:0a:40:00:40",
              "add forward 02:76:0a:40:00:40 to 192.0.2.1", "add route 10.64.0.64/26 via 10.64.0.64"});
  found = wanted;
  found.link->up = false;  // the kernel dropped routes when it went down
  found.routes.clear();
  CHECK(texts(wanted, found) == Lines{"set link rayctl.4242, up", "add route 10.64.0.64/26 via 10.64.0.64"});
  found = wanted;
  found.addresses = {parse_address("10.64.9.9")};
  CHECK(texts(wanted, found) == Lines{"delete address 10.64.9.9", "add address 10.64.0.0"});
}

TEST_CASE("without an overlay the link goes and the pool stays unreachable", "[net]") {
  OverlayState none;
  none.pool_unreachable = true;
  CHECK(texts(none, state({peer(1)})) == Lines{"delete link rayctl.4242"});
  CHECK(texts(none, {}) == Lines{"add route unreachable 10.64.0.0/12"});
}

TEST_CASE("an encrypted link is made first, and gets its routes once it has its key", "[net]") {
  Overlay o = overlay({peer(1)});
  o.mode = OverlayMode::wireguard;
  o.private_key = make_private_key();
  o.peers[0].key = public_key(make_private_key());
  OverlayState wanted = overlay_state(o, 0, 1420);
  CHECK(texts(wanted, {}) ==
        Lines{"add route unreachable 10.64.0.0/12", "create link rayctl.wg (WireGuard, MTU 1420)"});
  OverlayState found;
  found.pool_unreachable = true;
  found.tunnel = TunnelLink{"rayctl.wg", "wireguard", 1400, false};
  CHECK(texts(wanted, found) ==
        Lines{"set link rayctl.wg, MTU 1420, up", "add address 10.64.0.0", "add route 10.64.0.64/26"});
  found = wanted;
  CHECK(texts(wanted, found).empty());
  found.tunnel->kind = "tun";  // the node changed from userspace to the kernel's
  CHECK(texts(wanted, found) ==
        Lines{"delete link rayctl.wg", "create link rayctl.wg (WireGuard, MTU 1420)"});
  o.mode = OverlayMode::userspace;
  OverlayState tun = overlay_state(o, 0, 1420);
  CHECK(texts(tun, wanted) == Lines{"delete link rayctl.wg"});  // whoever serves a TUN makes it
  OverlayState vxlan = state({peer(1)});
  found = tun;
  found.link = vxlan.link;  // what the plain mode left
  CHECK(texts(tun, found) == Lines{"delete link rayctl.4242"});
  CHECK(wireguard_device(o).peers.at(o.peers[0].key).endpoint->port == o.port);
  o.behind_nat = true;
  CHECK(wireguard_device(o).peers.at(o.peers[0].key).keepalive == nat_keepalive);
  o.peers.push_back(o.peers[0]);
  o.peers[1].subnet = peer(2).subnet;
  CHECK_THROWS_WITH(overlay_state(o, 0, 1420), Contains("it has the key '"));
}

TEST_CASE("peers that can't be told apart are refused by name", "[net]") {
  Peer twin = peer(2);
  twin.subnet = peer(1).subnet;
  CHECK_THROWS_WITH(state({peer(1), twin}),
                    "cannot add peer 'node 2' to the overlay: it has the subnet '10.64.0.64/26' of 'node 1'");
  twin = peer(2);
  twin.underlay = ipv4(0xc0000200);
  CHECK_THROWS_WITH(state({twin}), Contains("it has the address '192.0.2.0' of 'this node'"));
  twin = peer(2);
  twin.mac = peer(1).mac;
  CHECK_THROWS_WITH(state({peer(1), twin}), Contains("it has the MAC '02:76:0a:40:00:40' of 'node 1'"));
  twin = peer(2);
  twin.underlay = parse_address("fd00::2");
  CHECK_THROWS_WITH(state({twin}), Contains("'fd00::2' is not of the IP version of this node's '192.0.2.0'"));
  twin = peer(2);
  twin.subnet = parse_subnet("10.80.0.0/26");
  CHECK_THROWS_WITH(state({twin}), Contains("its subnet '10.80.0.0/26' is outside pool '10.64.0.0/12'"));
  Overlay bad = overlay({});
  bad.vni = 1 << 24;
  CHECK_THROWS_WITH(overlay_state(bad, 2, 1450), Contains("VNI 16777216"));
  CHECK_THROWS_WITH(overlay_state(overlay({}), 2, 500), Contains("MTU 500"));
}

TEST_CASE("sizes of packets that pass are remembered by peer", "[net]") {
  std::vector<Peer> peers;
  AddressPlan plan{parse_subnet("10.64.0.0/12"), 26};
  for (uint32_t i = 1; i <= 5; ++i)
    peers.push_back({fmt::format("n{}", i), node_subnet(plan, i), ipv4(0xc0000200 + i)});
  PathMtus paths;
  auto names = [](const std::vector<Peer>& list) {
    std::string text;
    for (const Peer& p : list) text += p.name;
    return text;
  };
  std::vector<Peer> asked = paths.next(peers, 2);
  CHECK(names(asked) == "n1n2");
  auto lines = paths.take(asked, {1320, std::nullopt}, 1420);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find("to n1 drops packets of more than 1320 bytes") != std::string::npos);
  paths.apply(peers);
  CHECK(peers[0].path_mtu == 1320);
  CHECK(peers[1].path_mtu == 0);
  CHECK(names(paths.next(peers, 3)) == "n3n4n5");  // the new ones first
  CHECK(paths.take({peers[0]}, {1320}, 1420).empty());
  CHECK(paths.take({peers[0]}, {std::nullopt}, 1420).empty());  // silence tells nothing
  CHECK(paths.take({peers[0]}, {1420}, 1420) ==
        std::vector<std::string>{"the way to n1 takes packets of 1420 bytes again"});
  CHECK(names(paths.next(peers, 2)) == "n1n2");
  CHECK(smaller_sizes(1420).front() == 1400);
  CHECK(smaller_sizes(576).empty());
}

TEST_CASE("a narrow way is a metric of the peer's route, and replaces the wider one", "[net]") {
  Overlay overlay{.pool = parse_subnet("10.64.0.0/12"), .subnet = parse_subnet("10.64.0.0/26")};
  overlay.underlay = parse_address("192.0.2.1");
  overlay.peers = {{"n1", parse_subnet("10.64.0.64/26"), parse_address("192.0.2.2")}};
  overlay.peers[0].mac = vtep_mac(overlay.peers[0].subnet);
  OverlayState wide = overlay_state(overlay, 2, 1450);
  overlay.peers[0].path_mtu = 1340;
  auto changes = diff(overlay_state(overlay, 2, 1450), wide, overlay.pool);
  REQUIRE(changes.size() == 1);
  CHECK(describe(changes[0]) == "add route 10.64.0.64/26 via 10.64.0.64 MTU 1340");
  overlay.peers[0].path_mtu = 1450;  // no less than the link's
  CHECK(diff(overlay_state(overlay, 2, 1450), wide, overlay.pool).empty());
}
