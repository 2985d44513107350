#include "net/address.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "net/address_plan.h"
#include "net/resolv_conf.h"

using namespace rayctl;
using namespace rayctl::net;
using Catch::Matchers::Contains;

TEST_CASE("addresses and subnets read what they write", "[net]") {
  CHECK(to_string(parse_address("10.64.0.2")) == "10.64.0.2");
  CHECK(to_string(parse_address("fd00:ec2::254")) == "fd00:ec2::254");
  CHECK(to_string(parse_subnet("10.64.0.0/12")) == "10.64.0.0/12");
  CHECK(to_string(parse_subnet("fd00::/8")) == "fd00::/8");
  CHECK(to_string(parse_mac("02:72:0a:40:00:02")) == "02:72:0a:40:00:02");
  CHECK(to_uint32(ipv4(0x0a400001)) == 0x0a400001);
  for (const char* bad : {"", "10.0.0", "10.0.0.256", "fe80::1%eth0", "1.2.3.4 ", "x"})
    CHECK_THROWS_WITH(parse_address(bad), Contains("it is not an IP address"));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/8x"})
    CHECK_THROWS_AS(parse_subnet(bad), Error);
  CHECK_THROWS_WITH(parse_subnet("10.64.3.1/12"),
                    "cannot use '10.64.3.1/12': it has host bits; the subnet is '10.64.0.0/12'");
  for (const char* bad : {"", "02:72:0a:40:00", "02:72:0a:40:00:0", "02:72:0a:40:00:zz"})
    CHECK_THROWS_AS(parse_mac(bad), Error);
}

TEST_CASE("subnets contain and overlap", "[net]") {
  Subnet pool = parse_subnet("10.64.0.0/12");
  CHECK(contains(pool, parse_address("10.79.255.255")));
  CHECK_FALSE(contains(pool, parse_address("10.80.0.0")));
  CHECK_FALSE(contains(pool, parse_address("fd00::1")));
  CHECK(contains(pool, parse_subnet("10.64.0.64/26")));
  CHECK_FALSE(contains(pool, parse_subnet("10.0.0.0/8")));
  CHECK(overlaps(pool, parse_subnet("10.0.0.0/8")));
  CHECK(overlaps(parse_subnet("0.0.0.0/0"), pool));
  CHECK_FALSE(overlaps(pool, parse_subnet("10.128.0.0/9")));
}

TEST_CASE("a pool that overlaps a host network is refused with both names", "[net]") {
  std::vector<HostNetwork> used = {{parse_subnet("10.0.0.0/8"), "route 10.0.0.0/8 dev eth0"}};
  CHECK_THROWS_WITH(choose_plan(parse_subnet("10.64.0.0/12"), used),
                    "cannot use pool '10.64.0.0/12': it overlaps this host's 'route 10.0.0.0/8 dev eth0' "
                    "(choose another with --pool)");
  CHECK(to_string(choose_plan(std::nullopt, used).pool) == "172.16.0.0/12");
  CHECK(to_string(choose_plan(std::nullopt, {}).pool) == "10.64.0.0/12");
  used.push_back({parse_subnet("172.17.0.0/16"), "route 172.17.0.0/16 dev docker0"});
  CHECK(to_string(choose_plan(std::nullopt, used).pool) == "100.64.0.0/12");
  used.push_back({parse_subnet("100.64.0.0/10"), "route 100.64.0.0/10 dev tailscale0"});
  CHECK_THROWS_WITH(choose_plan(std::nullopt, used), Contains("cannot find a free address pool") &&
                                                         Contains("docker0") && Contains("tailscale0") &&
                                                         Contains("--pool"));
  CHECK_THROWS_AS(choose_plan(parse_subnet("fd00::/12"), {}), UsageError);
  CHECK_THROWS_AS(choose_plan(parse_subnet("10.0.0.0/26"), {}), UsageError);
  CHECK_THROWS_AS(choose_plan(parse_subnet("0.0.0.0/0"), {}), UsageError);
  CHECK_THROWS_AS(choose_plan(parse_subnet("10.0.0.0/24"), {}, 30), UsageError);
}

TEST_CASE("nodes and containers have fixed addresses", "[net]") {
  AddressPlan plan{parse_subnet("10.64.0.0/12"), 26};
  CHECK(node_limit(plan) == 16384);
  CHECK(to_string(node_subnet(plan, 0)) == "10.64.0.0/26");
  CHECK(to_string(node_subnet(plan, 5)) == "10.64.1.64/26");
  CHECK(to_string(node_subnet(plan, 16383)) == "10.79.255.192/26");
  CHECK_THROWS_WITH(node_subnet(plan, 16384),
                    "cannot give node 16385 a subnet: pool '10.64.0.0/12' holds 16384 nodes of /26 each");
  Subnet node = node_subnet(plan, 1);
  CHECK(container_limit(node) == 61);
  CHECK(to_string(vtep_address(node)) == "10.64.0.64");
  CHECK(to_string(gateway_address(node)) == "10.64.0.65");
  CHECK(to_string(container_address(node, 0)) == "10.64.0.66");
  CHECK(to_string(container_address(node, 60)) == "10.64.0.126");
  CHECK_THROWS_WITH(container_address(node, 61),
                    "cannot give container 62 an address: subnet '10.64.0.64/26' holds 61 containers");
  CHECK(to_string(container_mac(container_address(node, 0))) == "02:72:0a:40:00:42");
  CHECK(to_string(vtep_mac(node)) == "02:76:0a:40:00:40");
}

TEST_CASE("a build network takes the first free /30", "[net]") {
  CHECK(to_string(choose_build_subnet({}, {})) == "10.62.240.0/30");
  CHECK(to_string(choose_build_subnet({}, {parse_subnet("10.62.240.0/30")})) == "10.62.240.4/30");
  CHECK(to_string(choose_build_subnet({{parse_subnet("10.0.0.0/8"), "x"}}, {})) == "192.168.240.0/30");
  CHECK_THROWS_WITH(choose_build_subnet({{parse_subnet("0.0.0.0/0"), "x"}}, {}),
                    Contains("cannot find a free network for the build"));
}

TEST_CASE("resolv.conf gives at most three servers", "[net]") {
  auto servers = parse_resolv_conf(
      "# comment\nsearch example\nnameserver 10.0.0.2 # inline\n nameserver\t1.1.1.1\n"
      "nameserver fe80::1%eth0\nnameserver nonsense\nnameserverx 9.9.9.9\n"
      "nameserver fd00::53\r\nnameserver 4.4.4.4");
  REQUIRE(servers.size() == 3);
  CHECK(to_string(servers[0]) == "10.0.0.2");
  CHECK(to_string(servers[1]) == "1.1.1.1");
  CHECK(to_string(servers[2]) == "fd00::53");
  CHECK(parse_resolv_conf("").empty());
  CHECK(parse_upstream("127.0.0.1#5353") == Upstream{parse_address("127.0.0.1"), 5353});
  CHECK(parse_upstream("[fd00::1]#53") == Upstream{parse_address("fd00::1"), 53});
  CHECK_THROWS_AS(parse_upstream("127.0.0.1#0"), Error);
  CHECK_THROWS_AS(parse_upstream("127.0.0.1#x"), Error);
}
