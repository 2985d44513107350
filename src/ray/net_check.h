// `rayctl net check`: what of a node's network is well, what isn't, and what to do about it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "net/checksums.h"
#include "net/dns_process.h"
#include "net/node_network.h"
#include "net/probe.h"
#include "wg/tunnel_process.h"

namespace rayctl::ray {

enum class Verdict { ok, warning, failure };
std::string_view verdict_name(Verdict verdict);

struct Check {
  std::string name;  // "forwarding", "reach ray-wk-1"
  Verdict verdict = Verdict::ok;
  std::string reason;
  std::string fix = {};  // a line to type, or what to open; empty when nothing is to be done
};
nlohmann::json to_json(const std::vector<Check>& checks);

// What the supervisor knows; the rest is looked up by run_checks().
struct CheckInput {
  net::NodeNetwork wanted = {};
  std::vector<std::string> problems = {};
  std::string failure = {};  // of the last look
  uint32_t mtu = 0;
  std::optional<net::DnsStatus> dns = {};
  std::optional<wg::TunnelStatus> tunnel = {};
};

// What the kernel and the peers say; index i of `small` and `large` belongs to peer i.
struct CheckFacts {
  std::string pool_overlap = {};  // the error's text
  bool forwarding = false;
  std::vector<net::ProbeAnswer> small = {}, large = {};
  std::vector<net::Checksums> checksums = {};            // VXLAN's, per peer
  std::map<net::WireguardKey, int64_t> handshakes = {};  // seconds since the epoch
  int64_t now = 0;
};

std::vector<Check> judge(const CheckInput& input, const CheckFacts& facts);  // pure
CheckFacts look_up(const CheckInput& input);                                 // blocks for about three seconds

}  // namespace rayctl::ray
