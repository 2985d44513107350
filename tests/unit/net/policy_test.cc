#include "net/policy.h"

#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "net/firewall.h"
#include "net/nft_encode.h"
#include "net/policy_read.h"

using namespace rayctl;
using namespace rayctl::net;
using Catch::Matchers::Contains;

namespace {

void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/net/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(read_file(path) == text);
}

Address at(uint32_t last) {
  return ipv4(0x0a400000 + last);
}

Policy policy() {
  Policy p;
  p.labels = {{"web", {at(67), at(3)}}, {"db", {at(4)}}, {"idle", {}}, {"unused", {at(5)}}};
  p.ray = {at(2), at(66)};
  p.connect = {{"web", "db", 5432, 5432, Protocol::tcp},
               {"public", "web", 80, 80, Protocol::tcp},
               {"web", "public", 443, 443, {}},
               {"idle", "web", 8000, 8080, {}}};
  return p;
}

NodeRules rules(Policy p) {
  return {.bridge = "rayctl0",
          .mode = OverlayMode::userspace,
          .overlay_link = "rayctl.wg",
          .pool = parse_subnet("10.64.0.0/12"),
          .subnet = parse_subnet("10.64.0.64/26"),
          .port = 51820,
          .machines = {at(0), at(128)},
          .policy = std::move(p)};
}

}  // namespace

TEST_CASE("a policy's table", "[net]") {
  Policy p = policy();
  check_golden("policy.nft", to_text(node_table(rules(p))));
  p.egress = Egress::declared;
  p.metadata = {"db"};
  p.connect.push_back(p.connect.front());  // said twice: there once
  check_golden("policy-declared.nft", to_text(node_table(rules(p))));
}

TEST_CASE("a policy that can't be meant is refused", "[net]") {
  Policy p = policy();
  p.connect = {{"web", "dbb", 1, 2, Protocol::udp}};
  CHECK_THROWS_WITH(node_table(rules(p)), "cannot apply 'connect web dbb udp 1-2': there is no label 'dbb'");
  p.connect = {{"public", "public", 1, 1, {}}};
  CHECK_THROWS_WITH(node_table(rules(p)), Contains("one end must be a label"));
  p.connect = {{"web", "db", 0, 1, {}}};
  CHECK_THROWS_WITH(node_table(rules(p)), Contains("ports are from 1 to 65535"));
  p.connect = {{"web", "db", 9, 1, {}}};
  CHECK_THROWS_WITH(node_table(rules(p)), Contains("the lower one first"));
}

TEST_CASE("rules read back from their expressions say what was put in", "[net]") {
  Policy p = policy();
  p.metadata = {"db"};
  p.egress = Egress::declared;
  for (NodeRules r : {rules(p), rules(policy())}) {
    for (OverlayMode mode : {OverlayMode::userspace, OverlayMode::vxlan}) {
      r.mode = mode;
      for (const NftChain& chain : node_table(r).chains)
        for (const NftRule& rule : chain.rules) {
          Message message = nft_message(0, 1, 0);
          encode_rule(message, 1, rule);
          std::vector<std::byte> bytes;
          for (std::byte b : message.finish(1)) bytes.push_back(b);
          std::string text;
          for_each_message(bytes, [&](const Answer& answer) {
            text = decode_rule(answer.attributes(4).nested(4));  // NFTA_RULE_EXPRESSIONS
            return true;
          });
          std::string wanted = to_text(rule);
          if (size_t random = wanted.find(" fully-random"); random != std::string::npos) wanted.erase(random);
          CHECK(text == wanted);
        }
    }
  }
}

TEST_CASE("members of one node take turns at a published port", "[net]") {
  Policy p = policy();
  p.labels["web"] = {at(67), at(3), at(70), at(69)};  // three are this node's
  PolicyRules made = policy_rules(p, parse_subnet("10.64.0.64/26"));
  std::vector<std::string> texts;
  for (const NftRule& rule : made.published) texts.push_back(to_text(rule));
  CHECK(texts ==
        std::vector<std::string>{"fib daddr type local tcp dport 80 numgen inc mod 3 0 dnat ip to 10.64.0.67",
                                 "fib daddr type local tcp dport 80 numgen inc mod 2 0 dnat ip to 10.64.0.69",
                                 "fib daddr type local tcp dport 80 dnat ip to 10.64.0.70"});
  CHECK(made.hairpins.size() == 3);
  p.labels["web"] = {at(3)};
  made = policy_rules(p, parse_subnet("10.64.0.64/26"));
  CHECK(made.published.empty());
  CHECK(made.hairpins.empty());
}

TEST_CASE("a container may look up what it may connect to", "[net]") {
  CHECK(visible_labels(policy(), {"web"}) == std::set<std::string>{"web", "db"});
  CHECK(visible_labels(policy(), {"db"}) == std::set<std::string>{"db"});
  CHECK(visible_labels(policy(), {}).empty());
}

TEST_CASE("rules as people read them", "[net]") {
  auto one = [](const char* rule) {
    auto all = parse_reach(rule, "rayctl0");
    return all.size() == 1 ? fmt::format("{} -> {}: {} {}", all[0].from, all[0].to, all[0].what,
                                         all[0].allowed ? "allowed" : "dropped")
                           : "";
  };
  CHECK(one(R"(oifname "rayctl0" ip saddr @label-web ip daddr @label-db tcp dport 5432 counter accept)") ==
        "web -> db: tcp 5432 allowed");
  CHECK(one(R"(oifname "rayctl0" ip saddr @ray ip daddr @ray counter accept)") == "ray -> ray: all allowed");
  CHECK(one(R"(oifname "rayctl0" ct state established,related counter accept)") ==
        "anyone -> containers: answers allowed");
  CHECK(one(R"(oifname "rayctl0" ip daddr @label-web tcp dport 80 ct status dnat counter accept)") ==
        "public -> web: tcp 80 allowed");
  CHECK(one(R"(oifname "rayctl0" counter drop)") == "anyone -> containers: all dropped");
  CHECK(one(R"(fib daddr type local tcp dport 80-90 dnat ip to 10.64.0.3)") ==
        "public -> 10.64.0.3: tcp 80-90 allowed");
  CHECK(one(R"(iifname "rayctl0" oifname "rayctl.wg" counter accept)") ==
        "containers -> other nodes: all allowed");
  CHECK(one(R"(iifname "rayctl0" ip saddr @label-web udp dport 53 counter accept)") ==
        "web -> public: udp 53 allowed");
  CHECK(one(R"(iifname "rayctl0" counter accept)") == "containers -> anyone: all allowed");
  CHECK(one(R"(iifname "rayctl0" counter drop)") == "containers -> public: all dropped");
  CHECK(one(R"(iifname "lo" counter return)") == "");
}
