#include "net/firewall.h"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/file.h"
#include "net/foreign_firewall.h"
#include "net/nft_encode.h"

using namespace rayctl;
using namespace rayctl::net;

namespace {

// Compares with tests/golden/net/NAME; RAYCTL_ACCEPT=1 rewrites it.
void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/net/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(read_file(path) == text);
}

constexpr uint8_t family_ip = 2, family_inet = 1;

FoundChain chain(uint8_t family, const char* table, const char* name, std::optional<Hook> hook, bool drops) {
  return {family, table, name, hook, drops};
}

FoundRule rule(const FoundChain& in, const std::string& comment, bool rejects = false) {
  return {in.family, in.table, in.name, 1, comment, rejects};
}

std::vector<std::string> places(const std::vector<FoundChain>& chains, const std::vector<FoundRule>& rules) {
  auto permits = forward_permits("rayctl0", parse_subnet("10.64.0.0/12"));
  std::vector<std::string> found;
  for (const Permit& permit : missing_permits(chains, rules, Hook::forward, permits))
    found.push_back(permit.chain.table + " " + permit.chain.name + ": " + permit.rule.comment);
  return found;
}

}  // namespace

TEST_CASE("the rules of a node and of a build step", "[net]") {
  NodeRules rules{
      .bridge = "rayctl0",
      .mode = OverlayMode::vxlan,
      .overlay_link = "rayctl.4242",
      .pool = parse_subnet("10.64.0.0/12"),
      .subnet = parse_subnet("10.64.0.64/26"),
      .peers = {parse_address("192.0.2.3"), parse_address("192.0.2.1"), parse_address("fd00::1")}};
  check_golden("node.nft", to_text(node_table(rules)));
  rules.mode = OverlayMode::none;
  rules.block_metadata = false;
  check_golden("node-alone.nft", to_text(node_table(rules)));
  check_golden("build.nft",
               to_text(build_table("rayctl-build-7-0", "rcb-7-0", parse_subnet("10.62.240.0/30"))));
}

TEST_CASE("a rule's tag changes with what it does", "[net]") {
  NftRule a{"egress", {MatchSubnet{Side::source, parse_subnet("10.64.0.0/26")}, Masquerade{}}};
  NftRule b{"egress", {MatchSubnet{Side::source, parse_subnet("10.64.0.64/26")}, Masquerade{}}};
  CHECK(rule_tag(a) != rule_tag(b));
  CHECK(rule_tag(a) == rule_tag(a));
  CHECK(rule_tag(a).starts_with("rayctl:"));
  CHECK(rule_tag(a).ends_with(" egress"));
}

TEST_CASE("comments are found among a rule's user data", "[net]") {
  using namespace std::string_view_literals;
  CHECK(parse_comment(as_bytes("\0\4abc\0"sv)) == "abc");
  CHECK(parse_comment(as_bytes("\1\2xx\0\3ab\0"sv)) == "ab");
  CHECK(parse_comment(as_bytes("\0\x20zz"sv)) == "");
  CHECK(parse_comment({}) == "");
}

TEST_CASE("permits go where a foreign chain drops, above its own rules", "[net]") {
  FoundChain open = chain(family_ip, "filter", "FORWARD", Hook::forward, false);
  FoundChain closed = chain(family_ip, "filter", "FORWARD", Hook::forward, true);
  FoundChain docker = chain(family_ip, "filter", "DOCKER-USER", std::nullopt, false);
  FoundChain firewalld = chain(family_inet, "firewalld", "filter_FORWARD", Hook::forward, false);
  FoundChain ours = chain(family_inet, "rayctl", "passing", Hook::forward, true);
  FoundChain v6 = chain(10, "filter", "FORWARD", Hook::forward, true);
  using Places = std::vector<std::string>;
  CHECK(places({open, ours, v6}, {}).empty());
  CHECK(places({closed}, {}) == Places{"filter FORWARD: from containers", "filter FORWARD: to containers"});
  CHECK(places({closed, docker}, {}) ==
        Places{"filter DOCKER-USER: from containers", "filter DOCKER-USER: to containers"});
  // Oracle's and Red Hat's images end with a rejection, under a policy that accepts
  CHECK(places({open}, {rule(open, "", true)}).size() == 2);
  CHECK(places({firewalld}, {rule(firewalld, "x"), rule(firewalld, "", true)}).size() == 2);
  CHECK(places({open}, {rule(open, "", true), rule(open, "later")}).empty());
  auto permits = forward_permits("rayctl0", parse_subnet("10.64.0.0/12"));
  FoundRule first = rule(closed, rule_tag(permits[0])), second = rule(closed, rule_tag(permits[1]));
  CHECK(places({closed}, {second, first}).empty());
  CHECK(places({closed}, {rule(closed, "someone's"), first, second}).size() == 2);
}
