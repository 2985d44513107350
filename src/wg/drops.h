// Why packets are thrown away, counted for the status and never logged one by one.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace rayctl::wg {

enum class Drop : uint8_t {
  no_peer,             // from the link: no peer has this destination
  no_endpoint,         // from the link: nobody knows where the peer is
  queue_full,          // from the link: too much waits for a handshake
  bad_packet,          // from the link: not IP, or an offload that can't be undone
  send_failed,         // the socket refused it
  unknown_message,     // from outside: no message of WireGuard
  bad_mac1,            // whoever sent it doesn't know our public key
  cookie_sent,         // under load: asked to prove its address first
  rate_limited,        // under load: too many from one source
  handshake_queue,     // under load: too many at all
  bad_handshake,       // not authentic: another key, preshared key or cipher
  unknown_peer,        // authentic, but of nobody in the table
  wrong_cipher,        // the peer uses the construction that the table doesn't give it
  old_handshake,       // an initiation seen before
  flooding_handshake,  // initiations of one peer within 20 ms
  unknown_session,     // data for an index that isn't ours (any more)
  expired_session,
  not_authentic,
  replayed,
  wrong_source,  // the inner source isn't among the peer's allowed IPs
  bad_inner,     // the inner packet isn't IP
  link_failed,   // the TUN link refused it
};
constexpr size_t drop_reasons = static_cast<size_t>(Drop::link_failed) + 1;

std::string_view to_string(Drop reason);

class DropCounters {
 public:
  void add(Drop reason, uint64_t count = 1) { counts_[static_cast<size_t>(reason)] += count; }
  uint64_t of(Drop reason) const { return counts_[static_cast<size_t>(reason)]; }

 private:
  std::array<uint64_t, drop_reasons> counts_ = {};
};

}  // namespace rayctl::wg
