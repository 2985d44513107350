#include "net/wireguard.h"

#include <catch2/catch.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "net/overlay.h"

using namespace rayctl;
using namespace rayctl::net;
using Catch::Matchers::Contains;

namespace {

WireguardKey key(uint8_t fill) {
  WireguardKey k;
  k.fill(fill);
  return k;
}

WireguardPeer peer(const char* subnet, const char* endpoint = "192.0.2.7") {
  return {Endpoint{parse_address(endpoint), 51820}, {parse_subnet(subnet)}, 0};
}

FoundWireguard found(const WireguardDevice& device, int64_t handshake = 1000) {
  FoundWireguard f{device, {}};
  for (const auto& [k, p] : device.peers) f.status[k].handshake = handshake;
  return f;
}

std::vector<std::string> steps(const WireguardDevice& wanted, const FoundWireguard& had,
                               const std::set<WireguardKey>& moved = {}, int64_t now = 1010) {
  return describe(diff(wanted, had, moved, now), {{key(1), "one"}, {key(2), "two"}});
}

using Lines = std::vector<std::string>;

std::string bytes_of(Message& message, uint32_t sequence) {
  Bytes bytes = message.finish(sequence, NLM_F_ACK);
  return hex(as_text(bytes));
}

}  // namespace

TEST_CASE("keys are X25519's, and their text is what every tool shows", "[net]") {
  // RFC 7748, section 6.1: Alice.
  WireguardKey alice = parse_wireguard_key("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=");
  CHECK(to_text(alice) == "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=");
  CHECK(to_text(public_key(alice)) == "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
  WireguardKey made = make_private_key();
  CHECK(made != make_private_key());
  CHECK((made[0] & 7) == 0);
  CHECK((made[31] & 0xc0) == 0x40);
  CHECK(parse_wireguard_key(to_text(made)) == made);
  for (const char* bad :
       {"", "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo", "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LC==",
        "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCp=", "?wdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="})
    CHECK_THROWS_WITH(parse_wireguard_key(bad), "not a WireGuard key: 32 bytes as 44 characters of base64");
}

TEST_CASE("a node's key stays over restarts, and another takes its place once the cluster says so", "[net]") {
  TempDir directory;
  WireguardKey first, next;
  {
    KeyStore keys(directory.path());
    first = keys.current();
    CHECK(keys.announced() == public_key(first));
    keys.rotate();
    next = keys.announced();
    CHECK(next != public_key(first));
    keys.rotate();  // the one that waits is kept
    CHECK(keys.announced() == next);
    CHECK(keys.current() == first);
    CHECK_FALSE(keys.use(public_key(first)));
  }
  KeyStore keys(directory.path());  // a restart in between
  CHECK(keys.current() == first);
  CHECK(keys.announced() == next);
  CHECK(keys.use(next));
  CHECK(public_key(keys.current()) == next);
  CHECK(public_key(KeyStore(directory.path()).current()) == next);
  CHECK((status(join(directory.path(), "overlay.key"))->st_mode & 0777) == 0600);
  replace_file(join(directory.path(), "overlay.key"), "garbage", 0600);
  CHECK_THROWS_WITH(KeyStore(directory.path()), Contains("overlay.key': not a WireGuard key"));
}

TEST_CASE("WireGuard's messages, byte by byte", "[net]") {
  WireguardChanges changes;
  changes.private_key = key(0x11);
  changes.port = 51820;
  changes.peers.push_back({WireguardChange::Kind::add,
                           key(0x22),
                           Endpoint{parse_address("192.0.2.7"), 51820},
                           25,
                           {parse_subnet("10.64.0.64/26")},
                           false});
  changes.peers.push_back({WireguardChange::Kind::update, key(0x33), {}, {}, {}, true});
  changes.peers.push_back({WireguardChange::Kind::remove, key(0x44)});
  auto messages = set_device_messages(0x1c, "rayctl.wg", changes);
  REQUIRE(messages.size() == 1);
  std::string k11, k22, k33, k44;
  for (int i = 0; i < 32; ++i) k11 += "11", k22 += "22", k33 += "33", k44 += "44";
  CHECK(bytes_of(messages[0], 7) ==
        "18010000"
        "1c00"
        "0500"
        "07000000"
        "00000000"  // length, family, REQUEST|ACK, sequence, port
        "01"
        "01"
        "0000"  // SET_DEVICE, version 1
        "0e000200"
        "726179"
        "63746c2e776700"
        "0000"  // IFNAME "rayctl.wg"
        "24000300" +
            k11 +  // PRIVATE_KEY
            "06000600"
            "6cca0000"  // LISTEN_PORT, in the host's order
            "c8000880"  // PEERS, nested
            "64000080"  // the first
            "24000100" +
            k22 +  // its key
            "14000400"
            "0200"
            "ca6c"
            "c0000207"
            "0000000000000000"  // ENDPOINT: a sockaddr_in
            "06000500"
            "19000000"  // keepalive 25 s
            "20000980"
            "1c000080"  // ALLOWEDIPS, its first
            "06000100"
            "02000000"
            "08000200"
            "0a400040"
            "05000300"
            "1a000000"
            "30000080"
            "24000100" +
            k33 +
            "08000300"
            "06000000"  // UPDATE_ONLY | REPLACE_ALLOWEDIPS
            "30000080"
            "24000100" +
            k44 +
            "08000300"
            "01000000");  // REMOVE_ME
}

TEST_CASE("thousands of peers go in several messages, the device's own settings once", "[net]") {
  WireguardChanges changes;
  changes.port = 1;
  for (uint32_t i = 0; i < 2 * peers_per_message + 1; ++i) {
    WireguardKey k = {};
    k[0] = static_cast<uint8_t>(i);
    k[1] = static_cast<uint8_t>(i >> 8);
    changes.peers.push_back(
        {WireguardChange::Kind::add, k, {}, {}, {{ipv4(0x0a400000 + i * 64), 26}}, false});
  }
  auto messages = set_device_messages(0x1c, "rayctl.wg", changes);
  REQUIRE(messages.size() == 3);
  for (Message& message : messages) CHECK(message.size() < 64 << 10);
  CHECK(messages[2].size() < 200);
  CHECK(set_device_messages(0x1c, "rayctl.wg", {}).empty());
}

TEST_CASE("what the kernel tells of a device is understood, a peer in two pieces too", "[net]") {
  WireguardChanges changes;
  changes.private_key = key(0x11);
  changes.port = 51820;
  changes.peers.push_back({WireguardChange::Kind::add,
                           key(0x22),
                           Endpoint{parse_address("fd00::7"), 7},
                           25,
                           {parse_subnet("10.64.0.64/26")},
                           false});
  changes.peers.push_back(
      {WireguardChange::Kind::add, key(0x22), {}, {}, {parse_subnet("10.64.0.0/26")}, false});
  FoundWireguard f;
  auto messages = set_device_messages(0x1c, "rayctl.wg", changes);
  std::vector<std::byte> bytes;
  for (std::byte b : messages[0].finish(1)) bytes.push_back(b);
  bytes[16] = std::byte{0};  // the answer to GET_DEVICE
  for_each_message(bytes, [&](const Answer& answer) {
    parse_device(answer, f);
    return true;
  });
  CHECK(f.device.private_key == key(0x11));
  CHECK(f.device.port == 51820);
  REQUIRE(f.device.peers.size() == 1);
  const WireguardPeer& p = f.device.peers.at(key(0x22));
  CHECK(to_string(p.endpoint.value()) == "[fd00::7]:7");
  CHECK(p.keepalive == 25);
  CHECK(p.allowed == std::vector{parse_subnet("10.64.0.0/26"), parse_subnet("10.64.0.64/26")});
}

TEST_CASE("a device changes without emptying a live peer's list", "[net]") {
  WireguardDevice device{key(9), 51820, {{key(1), peer("10.64.0.64/26")}}};
  CHECK(steps(device, found(device)).empty());
  CHECK(steps(device, {}) == Lines{"set the overlay's key", "set the overlay's UDP port to 51820",
                                   "add peer one at 192.0.2.7:51820 for 10.64.0.64/26"});
  // Another key for the same subnet: the new peer takes it, then the old one goes.
  WireguardDevice next = device;
  next.peers.clear();
  next.peers[key(2)] = peer("10.64.0.64/26");
  CHECK(steps(next, found(device)) ==
        Lines{"add peer two at 192.0.2.7:51820 for 10.64.0.64/26", "remove peer one"});
  // A subnet that moves between live peers is added where it goes to.
  WireguardDevice both = device;
  both.peers[key(2)] = peer("10.64.0.128/26");
  WireguardDevice swapped = both;
  swapped.peers[key(1)].allowed = {};
  swapped.peers[key(2)].allowed = {parse_subnet("10.64.0.64/26"), parse_subnet("10.64.0.128/26")};
  CHECK(steps(swapped, found(both)) == Lines{"update peer two for 10.64.0.64/26"});
  // What nobody wants any more can only be taken away by saying the whole list.
  WireguardDevice less = device;
  less.peers[key(1)].allowed = {parse_subnet("10.64.1.0/26")};
  WireguardChanges changes = diff(less, found(device), {}, 1010);
  REQUIRE(changes.peers.size() == 1);
  CHECK(changes.peers[0].replace_allowed);
  CHECK(changes.peers[0].kind == WireguardChange::Kind::update);
}

TEST_CASE("an endpoint that roamed is left alone while its session lives", "[net]") {
  WireguardDevice device{key(9), 51820, {{key(1), peer("10.64.0.64/26")}}};
  WireguardDevice roamed = device;
  roamed.peers[key(1)].endpoint = Endpoint{parse_address("198.51.100.9"), 4242};
  CHECK(steps(device, found(roamed)).empty());
  Lines again{"update peer one at 192.0.2.7:51820"};
  CHECK(steps(device, found(roamed), {}, 1000 + 181) == again);  // flannel #1770: a pair dead for weeks
  CHECK(steps(device, found(roamed, 0)) == again);               // never a handshake
  CHECK(steps(device, found(roamed), {key(1)}) == again);        // the cluster knows a new address
  WireguardDevice nat = device;
  nat.peers[key(1)].endpoint.reset();  // it comes to us: nothing to set
  CHECK(steps(nat, found(roamed, 0)).empty());
}

TEST_CASE("a mode that can't encrypt is refused, never replaced by a plain one", "[net]") {
  KernelParts all{true, true, true}, no_wireguard{false, true, true}, nothing{false, false, true};
  CHECK(choose_mode("auto", "", all) == OverlayMode::wireguard);
  CHECK(choose_mode("auto", "", no_wireguard) == OverlayMode::userspace);
  CHECK(choose_mode("auto", "userspace", all) == OverlayMode::userspace);
  CHECK(choose_mode("wireguard", "userspace", all) == OverlayMode::userspace);  // one protocol
  CHECK(choose_mode("userspace", "", all) == OverlayMode::userspace);
  CHECK(choose_mode("vxlan", "", nothing) == OverlayMode::vxlan);
  CHECK(choose_mode("host", "", nothing) == OverlayMode::host);
  CHECK_THROWS_WITH(choose_mode("auto", "host", all), Contains("the cluster's is 'auto', for all its nodes"));
  CHECK_THROWS_WITH(choose_mode("host", "userspace", all), Contains("the cluster's is 'host'"));
  CHECK(choose_mode("vxlan", "auto", nothing) == OverlayMode::vxlan);
  CHECK_THROWS_WITH(choose_mode("auto", "", nothing),
                    Contains("cannot encrypt the overlay") && Contains("CONFIG_TUN"));
  CHECK_THROWS_WITH(choose_mode("wireguard", "", no_wireguard), Contains("CONFIG_WIREGUARD"));
  CHECK_THROWS_WITH(choose_mode("vxlan", "", {true, true, false}), Contains("CONFIG_VXLAN"));
  CHECK_THROWS_WITH(choose_mode("auto", "wireguard", no_wireguard), Contains("CONFIG_WIREGUARD"));
  CHECK_THROWS_WITH(choose_mode("vxlan", "wireguard", all),
                    "cannot use overlay 'wireguard': the cluster's is 'vxlan', for all its nodes");
  CHECK_THROWS_WITH(choose_mode("auto", "vxlan", all),
                    "cannot use overlay 'vxlan': the cluster's is 'auto', for all its nodes");
  CHECK_THROWS_WITH(choose_mode("ipsec", "", all), Contains("'ipsec' isn't one of this version"));
}
