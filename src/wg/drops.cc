#include "wg/drops.h"

namespace rayctl::wg {

std::string_view to_string(Drop reason) {
  constexpr std::array<std::string_view, drop_reasons> names = {
      "no_peer",         "no_endpoint",     "queue_full",    "bad_packet",    "send_failed",
      "unknown_message", "bad_mac1",        "cookie_sent",   "rate_limited",  "handshake_queue",
      "bad_handshake",   "unknown_peer",    "wrong_cipher",  "old_handshake", "flooding_handshake",
      "unknown_session", "expired_session", "not_authentic", "replayed",      "wrong_source",
      "bad_inner",       "link_failed"};
  return names[static_cast<size_t>(reason)];
}

}  // namespace rayctl::wg
