// What both ends of a control stream agree on beside the frames.
//
// The first frame of each side is a hello. From a node that joins:
//   {protocol, version, kind: "join", time, role, node: facts, token: {id, secret}, csr}  ->  {certificate,
//   authority}
// and then, over a new connection with that certificate:
//   {protocol, version, kind: "node", time, node: facts, instance, cluster, state, packs}  ->  {cluster,
//   epoch, state, time}
// (packs: it reads packed notifications, control_pack.h).
// From an operator with a certificate: {protocol, version, kind: "operator", time}  ->  {cluster, epoch,
// time} To a head that has no cluster yet: kind "claim", see claim.h. A refusal is {refused: text, final};
// final: trying again can't help. Notifications: state (head to node, a Delta), report (node to head).
#pragma once

#include <cstdint>
#include <string_view>

namespace rayctl::cluster {

constexpr uint16_t default_control_port = 7443;  // TCP, the head's control API
constexpr uint64_t protocol_version = 1;

// A clock that is far off makes certificates fail in ways that nobody understands: it is told before anything
// else. `theirs`: seconds of the epoch, as the peer's hello says; throws "cannot <doing>: this machine's …",
// the text being for the peer.
void check_clock(int64_t theirs, std::string_view doing);

}  // namespace rayctl::cluster
