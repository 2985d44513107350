#include "ray/net_check.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "net/address_plan.h"
#include "net/sysctl.h"

namespace rayctl::ray {

namespace {

constexpr auto probe_limit = std::chrono::milliseconds(1000);
constexpr size_t small_size = 84;

std::string age_of(int64_t handshake, int64_t now) {
  return handshake == 0
             ? "there was never a handshake"
             : fmt::format("the last handshake was {} ago",
                           human_duration(std::chrono::seconds(std::max<int64_t>(now - handshake, 0))));
}

// Where a peer answers: without an overlay the machine itself.
net::ProbeTarget target(const net::Overlay& overlay, const net::Peer& peer, size_t size) {
  return {overlay.mode == net::OverlayMode::host ? peer.underlay : net::vtep_address(peer.subnet), size};
}

// Without an overlay there is one way, the network's own.
Check reach_machine(const CheckInput& input, const CheckFacts& facts, size_t i) {
  const net::Peer& peer = input.wanted.overlay.peers[i];
  Check check{"reach " + peer.name};
  const net::ProbeAnswer &small = facts.small.at(i), &large = facts.large.at(i);
  if (small.time) {
    check.reason = fmt::format("{} answers within {:.1f} ms", net::to_string(peer.underlay),
                               static_cast<double>(small.time->count()) / 1000);
    if (large.time) return check;
    check.verdict = Verdict::failure;
    check.reason += fmt::format(", but no packet of {} bytes arrives", input.mtu);
    check.fix = fmt::format(
        "give the route its real size, e.g. ip route replace {} via GATEWAY mtu 1400, on both nodes",
        net::to_string(peer.underlay));
    return check;
  }
  check.verdict = Verdict::warning;  // echoes may be closed where TCP is open
  check.reason = fmt::format("no answer to echoes from {}", net::to_string(peer.underlay));
  check.fix =
      "let the machines reach each other on every TCP port and by ICMP, in the cloud's firewall and on the "
      "hosts: Ray needs it";
  return check;
}

uint32_t full_size(const CheckInput& input, const net::Peer& peer) {
  return peer.path_mtu ? peer.path_mtu : input.mtu;
}

Check reach(const CheckInput& input, const CheckFacts& facts, size_t i) {
  const net::Overlay& overlay = input.wanted.overlay;
  const net::Peer& peer = overlay.peers[i];
  Check check{"reach " + peer.name};
  const net::ProbeAnswer &small = facts.small.at(i), &large = facts.large.at(i);
  if (small.time && large.time) {
    check.reason = fmt::format("answers within {:.1f} ms, packets of {} bytes too",
                               static_cast<double>(small.time->count()) / 1000, full_size(input, peer));
    if (peer.path_mtu)
      check.reason += fmt::format(
          " (larger ones, up to {}, are dropped on the way without a word: none is sent)", input.mtu);
    return check;
  }
  if (small.time) {
    check.verdict = Verdict::failure;
    check.reason = fmt::format("small packets arrive, those of {} bytes don't{}", full_size(input, peer),
                               large.error.empty() ? "" : ": " + large.error);
    check.fix = fmt::format(
        "something on the way takes no packets of {} bytes and doesn't say so: give the route its real size, "
        "e.g. ip "
        "route replace {} via GATEWAY mtu 1400, on both nodes{}",
        input.mtu + net::overlay_overhead(overlay.mode, false), net::to_string(peer.underlay),
        net::encrypts(overlay.mode) ? ""
                                    : "; or the network card cuts large VXLAN packets wrongly: ethtool -K "
                                      "NIC tx-udp_tnl-csum-segmentation off");
    return check;
  }
  check.verdict = Verdict::failure;
  check.reason = small.error.empty() ? "no answer through the overlay" : "cannot send: " + small.error;
  if (net::encrypts(overlay.mode)) {
    auto handshake = facts.handshakes.find(peer.key);
    check.reason += "; " + age_of(handshake == facts.handshakes.end() ? 0 : handshake->second, facts.now);
  }
  check.fix =
      peer.behind_nat
          ? fmt::format("{} is behind NAT and must come to us: open UDP port {} towards this node", peer.name,
                        overlay.port)
          : fmt::format(
                "open UDP port {} between {} and {} in the cloud's firewall and on both hosts; see that "
                "'rayctl node' runs there",
                overlay.port, net::to_string(overlay.underlay), net::to_string(peer.underlay));
  return check;
}

// Through VXLAN the network card may be left to compute what TCP and UDP are checked by.
Check judge_checksums(const CheckInput& input, const CheckFacts& facts) {
  Check check{"checksums"};
  const std::vector<net::Peer>& peers = input.wanted.overlay.peers;
  bool computed = input.wanted.overlay.compute_checksums;
  auto count = [&](net::Checksums one) {
    return std::count(facts.checksums.begin(), facts.checksums.end(), one);
  };
  auto wrong = std::find(facts.checksums.begin(), facts.checksums.end(), net::Checksums::wrong);
  if (wrong != facts.checksums.end()) {
    check.verdict = Verdict::failure;
    check.reason = fmt::format("datagrams to {} arrive without a checksum, not with one: TCP hangs",
                               peers.at(static_cast<size_t>(wrong - facts.checksums.begin())).name);
    check.fix = computed
                    ? "something on the way changes packets: ask who runs that network; an encrypted overlay "
                      "(a cluster with --overlay auto) would show it, too"
                    : "within half a minute this node's kernel computes them instead of the network card";
  } else {
    check.reason =
        fmt::format("datagrams arrive whole at {} of {} peers", count(net::Checksums::right), peers.size());
    if (count(net::Checksums::unknown) > 0) check.reason += " (the others' firewalls say nothing)";
    if (computed) {
      check.verdict = Verdict::warning;
      check.reason += "; the kernel computes their checksums, as the network card does it wrongly";
      check.fix =
          "nothing has to be done; faster: a newer kernel or driver, or a cluster with --overlay auto";
    }
  }
  return check;
}

// What the overlay needs of this host.
void judge_machine(const CheckInput& input, const CheckFacts& facts, std::vector<Check>& checks) {
  if (facts.forwarding)
    checks.push_back({"forwarding", Verdict::ok, "IPv4 packets are forwarded"});
  else
    checks.push_back({"forwarding", Verdict::failure,
                      "IPv4 packets are not forwarded: something reset the setting",
                      "sysctl -w net.ipv4.ip_forward=1"});
  if (facts.pool_overlap.empty())
    checks.push_back({"pool", Verdict::ok,
                      net::to_string(input.wanted.overlay.pool) + " overlaps no network of this host"});
  else
    checks.push_back(
        {"pool", Verdict::failure, facts.pool_overlap, "a cluster with another --pool, or another route"});
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  return verdict == Verdict::ok ? "ok" : verdict == Verdict::warning ? "warning" : "FAILURE";
}

nlohmann::json to_json(const std::vector<Check>& checks) {
  nlohmann::json list = nlohmann::json::array();
  for (const Check& c : checks) {
    nlohmann::json item{{"name", c.name}, {"verdict", verdict_name(c.verdict)}, {"reason", c.reason}};
    if (!c.fix.empty()) item["fix"] = c.fix;
    list.push_back(std::move(item));
  }
  return list;
}

std::vector<Check> judge(const CheckInput& input, const CheckFacts& facts) {
  std::vector<Check> checks;
  const net::Overlay& overlay = input.wanted.overlay;
  bool host = overlay.mode == net::OverlayMode::host;
  if (host)
    checks.push_back({"overlay", Verdict::ok,
                      fmt::format("host (no overlay, not encrypted, no rules), MTU {}, {} peers", input.mtu,
                                  overlay.peers.size())});
  else
    checks.push_back({"overlay", Verdict::ok,
                      fmt::format("{}, {}, UDP port {}, MTU {}, {} peers", net::mode_name(overlay.mode),
                                  net::encrypts(overlay.mode) ? "encrypted" : "not encrypted", overlay.port,
                                  input.mtu, overlay.peers.size())});
  if (!input.failure.empty())
    checks.push_back({"kernel", Verdict::failure, input.failure,
                      "what the message names; it is tried again every second"});
  else
    checks.push_back({"kernel", Verdict::ok, "links, routes, rules and peers are as they should be"});
  for (const std::string& problem : input.problems) checks.push_back({"problem", Verdict::warning, problem});
  if (!host) judge_machine(input, facts, checks);
  if (!input.dns)
    checks.push_back({"names", Verdict::failure, "the name server doesn't run", "rayctl's log says why"});
  else if (!input.dns->errors.empty())
    checks.push_back({"names", Verdict::failure, input.dns->errors.begin()->second});
  else
    checks.push_back(
        {"names", Verdict::ok, fmt::format("{} containers are served", input.dns->serving.size())});
  if (overlay.mode == net::OverlayMode::userspace) {
    if (!input.tunnel) {
      checks.push_back(
          {"tunnel", Verdict::failure, "its process doesn't run", "the log in run/tunnel/log says why"});
    } else {
      Check tunnel{"tunnel", Verdict::ok, fmt::format("runs as process {}", input.tunnel->pid)};
      std::vector<std::string> lacks;
      for (const auto& [feature, there] : input.tunnel->features)
        if (!there && feature != "ipv6") lacks.push_back(feature);
      if (!lacks.empty()) tunnel.reason += fmt::format(", slower for lack of {}", fmt::join(lacks, ", "));
      for (const auto& [what, error] : input.tunnel->errors) {
        tunnel.verdict = Verdict::failure;
        tunnel.reason += fmt::format("; {}: {}", what, error);
      }
      checks.push_back(tunnel);
    }
  }
  if (!facts.checksums.empty()) checks.push_back(judge_checksums(input, facts));
  for (size_t i = 0; i < overlay.peers.size(); ++i)
    checks.push_back(host ? reach_machine(input, facts, i) : reach(input, facts, i));
  return checks;
}

CheckFacts look_up(const CheckInput& input) {
  CheckFacts facts;
  facts.now = time(nullptr);
  try {
    net::check_pool(input.wanted.overlay.pool, net::host_networks());
  } catch (const Error& error) {
    facts.pool_overlap = error.message();
  }
  facts.forwarding = net::sysctl("ipv4/ip_forward") == "1";
  std::vector<net::ProbeTarget> small, large;
  for (const net::Peer& peer : input.wanted.overlay.peers) {
    small.push_back(target(input.wanted.overlay, peer, small_size));
    large.push_back(target(input.wanted.overlay, peer, full_size(input, peer)));
  }
  facts.small = net::probe(small, probe_limit);
  facts.large = net::probe(large, probe_limit);
  if (input.wanted.overlay.mode == net::OverlayMode::vxlan)
    facts.checksums = net::test_checksums(input.wanted.overlay.peers);
  if (input.wanted.overlay.mode == net::OverlayMode::wireguard) {
    net::Netlink generic(NETLINK_GENERIC);
    if (auto family = net::wireguard_family(generic))
      for (const auto& [key, status] :
           net::observe_device(generic, *family, net::overlay_link_name(input.wanted.overlay)).status)
        facts.handshakes[key] = status.handshake;
  } else if (input.tunnel) {
    for (const auto& [key, peer] : input.tunnel->peers)
      facts.handshakes[net::parse_wireguard_key(key)] = static_cast<int64_t>(peer.last_handshake / 1000);
  }
  return facts;
}

}  // namespace rayctl::ray
