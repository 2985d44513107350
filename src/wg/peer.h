// One peer of a device: what the table says about it, and what became of it.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "wg/cookie.h"
#include "wg/drops.h"
#include "wg/session.h"
#include "wg/timers.h"
#include "wg/tunnel_table.h"

namespace rayctl::wg {

struct Peer {
  explicit Peer(const TunnelPeer& config_)
      : config(config_),
        keys{config_.public_key, config_.preshared_key, config_.cipher},
        cookies(config_.public_key),
        endpoint(config_.endpoint) {}

  TunnelPeer config;
  PeerKeys keys;
  CookieMaker cookies;
  std::optional<Endpoint> endpoint;  // where its last authentic packet came from
  int index = 0;                     // within the device: what allowed IPs lead to

  // Our own handshake that is on its way.
  std::optional<InitiatorState> initiator = {};
  uint32_t initiator_index = 0;
  std::optional<Time> last_sent_handshake = {};
  // The peer's.
  Timestamp newest_timestamp = {};
  std::optional<Time> last_initiation = {};
  std::optional<Secret> static_static = {};  // computed when first needed

  // The peer has confirmed `current`; as responder we may not use `next` until it did. `previous` is for what
  // is late.
  std::unique_ptr<Session> current = {}, previous = {}, next = {};
  bool asked_in_time = false;  // a new session was asked for by what we received in this one's last seconds

  PeerTimers timers = {};
  std::optional<Time> armed = {};  // when the device looks at the timers

  // Frames of the link, with their virtio header, until there is a session. Bounded; the oldest go first.
  std::deque<std::vector<uint8_t>> waiting = {};
  size_t waiting_bytes = 0;

  uint64_t received_bytes = 0, sent_bytes = 0;  // on the wire, without UDP and IP
  uint64_t last_handshake = 0;                  // Unix time in ns; 0: never
  uint64_t handshakes = 0;
  DropCounters drops = {};
};

}  // namespace rayctl::wg
