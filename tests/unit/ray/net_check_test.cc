#include "ray/net_check.h"

#include <catch2/catch.hpp>

#include "net/address_plan.h"

using namespace rayctl;
using namespace rayctl::ray;
using Catch::Matchers::Contains;
using std::chrono::microseconds;

namespace {

// A node with two peers, whom it reaches.
struct Lab {
  CheckInput input;
  CheckFacts facts;

  explicit Lab(net::OverlayMode mode, const std::string& network = "192.0.2.") {
    net::Overlay& overlay = input.wanted.overlay;
    overlay.mode = mode;
    overlay.pool = net::parse_subnet("10.64.0.0/12");
    overlay.subnet = net::parse_subnet("10.64.0.0/26");
    overlay.underlay = net::parse_address(network + "1");
    overlay.peers = {{"ray-wk-0", net::parse_subnet("10.64.0.64/26"), net::parse_address(network + "2")},
                     {"ray-wk-1", net::parse_subnet("10.64.0.128/26"), net::parse_address(network + "3")}};
    input.mtu = 1450;
    input.dns.emplace();
    facts.forwarding = true;
    facts.small = facts.large = {{microseconds(1234)}, {microseconds(2000)}};
    if (mode == net::OverlayMode::vxlan) facts.checksums = {net::Checksums::right, net::Checksums::right};
  }

  Check about(const std::string& name) const {
    for (const Check& check : judge(input, facts))
      if (check.name == name) return check;
    return {"", Verdict::failure, "no such check"};
  }
};

}  // namespace

TEST_CASE("a network that is well has no verdict but ok", "[net-check]") {
  for (net::OverlayMode mode : {net::OverlayMode::vxlan, net::OverlayMode::wireguard, net::OverlayMode::host})
    for (const Check& check : judge(Lab(mode).input, Lab(mode).facts)) {
      INFO(check.name << ": " << check.reason);
      CHECK(check.verdict == Verdict::ok);
      CHECK(check.fix.empty());
    }
}

TEST_CASE("each thing that is wrong has its reason and a line to type", "[net-check]") {
  Lab lab(net::OverlayMode::vxlan);
  lab.facts.forwarding = false;
  lab.facts.pool_overlap = "pool '10.64.0.0/12' overlaps '10.64.0.0/10' (dev eth0)";
  lab.input.failure = "cannot make the overlay: UDP port 8472 is in use";
  lab.input.dns.reset();
  lab.facts.large[0].time.reset();
  lab.facts.small[1].time.reset();
  CHECK_THAT(lab.about("forwarding").fix, Contains("sysctl -w net.ipv4.ip_forward=1"));
  CHECK_THAT(lab.about("pool").reason, Contains("10.64.0.0/10"));
  CHECK_THAT(lab.about("kernel").reason, Contains("8472 is in use"));
  CHECK(lab.about("names").verdict == Verdict::failure);
  CHECK_THAT(lab.about("reach ray-wk-0").reason, Contains("those of 1450 bytes don't"));
  CHECK_THAT(lab.about("reach ray-wk-1").fix, Contains("open UDP port 8472 between 192.0.2.1 and 192.0.2.3"));
}

TEST_CASE("checksums: wrong ones, those that the kernel computes now, and what isn't known", "[net-check]") {
  Lab lab(net::OverlayMode::vxlan);
  CHECK_THAT(lab.about("checksums").reason, Contains("at 2 of 2 peers"));
  lab.facts.checksums[1] = net::Checksums::unknown;
  CHECK(lab.about("checksums").verdict == Verdict::ok);
  CHECK_THAT(lab.about("checksums").reason, Contains("at 1 of 2 peers (the others' firewalls say nothing)"));
  lab.facts.checksums[1] = net::Checksums::wrong;
  CHECK(lab.about("checksums").verdict == Verdict::failure);
  CHECK_THAT(lab.about("checksums").reason, Contains("ray-wk-1"));
  CHECK_THAT(lab.about("checksums").fix, Contains("within half a minute"));
  lab.input.wanted.overlay.compute_checksums = true;
  CHECK_THAT(lab.about("checksums").fix, Contains("something on the way changes packets"));
  lab.facts.checksums[1] = net::Checksums::right;
  CHECK(lab.about("checksums").verdict == Verdict::warning);
  CHECK(Lab(net::OverlayMode::userspace).about("checksums").reason == "no such check");
}

TEST_CASE("what was found of checksums is kept until the opposite is", "[net-check]") {
  using net::Checksums;
  std::vector<net::Peer> peers = Lab(net::OverlayMode::vxlan).input.wanted.overlay.peers;
  net::ChecksumFinding finding;
  finding.take(peers, {Checksums::right, Checksums::unknown}, true);
  CHECK(finding.problem().empty());
  CHECK_FALSE(finding.compute());
  finding.take(peers, {Checksums::right, Checksums::wrong}, true);
  CHECK(finding.compute());
  CHECK_THAT(finding.problem(), Contains("the kernel computes them instead"));
  finding.take(peers, {Checksums::unknown, Checksums::wrong}, false);
  CHECK_THAT(finding.problem(), Contains("to ray-wk-1 arrive without a checksum and not with one, though"));
  finding.take(peers, {Checksums::unknown, Checksums::unknown}, false);
  CHECK_THAT(finding.problem(), Contains("though"));
  finding.take(peers, {Checksums::right, Checksums::right}, false);
  CHECK(finding.compute());
  CHECK_THAT(finding.problem(), Contains("the kernel computes them instead"));
}

TEST_CASE("without an overlay the machines themselves are asked, by IPv6 too", "[net-check]") {
  Lab lab(net::OverlayMode::host, "2001:db8::");
  CHECK_THAT(lab.about("reach ray-wk-0").reason, Contains("2001:db8::2 answers within 1.2 ms"));
  lab.facts.large[0].time.reset();
  CHECK(lab.about("reach ray-wk-0").verdict == Verdict::failure);
  lab.facts.small[1].time.reset();
  CHECK(lab.about("reach ray-wk-1").verdict == Verdict::warning);
}
