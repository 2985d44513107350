#include "cloud/firewall.h"

#include <catch2/catch.hpp>

using namespace rayctl::cloud;

TEST_CASE("networks are written one way") {
  CHECK(normal_cidr("203.0.113.7") == "203.0.113.7/32");
  CHECK(normal_cidr("10.1.2.3/8") == "10.0.0.0/8");
  CHECK(normal_cidr("10.1.2.3/0") == "0.0.0.0/0");
  CHECK(normal_cidr("10.1.255.3/23") == "10.1.254.0/23");
  CHECK(normal_cidr("2001:DB8::1") == "2001:db8::1/128");
  CHECK(normal_cidr("2001:db8:ffff::/35") == "2001:db8:e000::/35");
  for (const char* bad :
       {"", "local", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::/129", "10.0.0.0/8/8", "1.2.3.4/-1"})
    CHECK_THROWS_AS(normal_cidr(bad), ProviderError);
  CHECK_THROWS_WITH(normal_cidr("home"),
                    "cannot use 'home' as a network (write an address or ADDRESS/BITS, as 203.0.113.0/24)");
}

TEST_CASE("a firewall becomes rules, and a change is what differs") {
  Firewall firewall{.admin_cidrs = {"203.0.113.7", "203.0.113.7/32"},
                    .public_ports = {{80, 80}},
                    .peer_addresses = {"198.51.100.2"}};
  auto rules = firewall_rules(firewall);
  CHECK(rules ==
        std::vector<FirewallRule>{{.protocol = "all", .source = "198.51.100.2/32"},
                                  {.protocol = "all", .source = "203.0.113.7/32"},
                                  {.protocol = "all", .source = "self"},
                                  {.protocol = "tcp", .first = 80, .last = 80, .source = "0.0.0.0/0"},
                                  {.protocol = "tcp", .first = 80, .last = 80, .source = "::/0"}});
  FirewallRule foreign{.protocol = "tcp", .first = 22, .last = 22, .source = "0.0.0.0/0"};
  FirewallChange change = firewall_change(rules, {foreign, rules[2], rules[3], rules[4]});
  CHECK(change.add == std::vector<FirewallRule>{rules[0], rules[1]});
  CHECK(change.remove == std::vector<FirewallRule>{foreign});
  change = firewall_change(rules, rules);
  CHECK((change.add.empty() && change.remove.empty()));
  firewall.public_ports = {{90, 80}};
  CHECK_THROWS_WITH(firewall_rules(firewall), "cannot open the ports 90-80 (ports are 1 to 65535)");
}
