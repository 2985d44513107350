// MAC1, MAC2 and cookies: what a handshake message must show before it costs its receiver a Diffie-Hellman.
// WireGuard's white paper, sections 5.3 and 5.4.4 … 5.4.7.
#pragma once

#include <optional>
#include <unordered_map>

#include "wg/noise.h"
#include "wg/timers.h"

namespace rayctl::wg {

using CookieReply = std::array<uint8_t, cookie_size>;

// Looks at messages that come in.
class CookieChecker {
 public:
  explicit CookieChecker(const PublicKey& own = {});
  bool mac1_fits(ByteView message) const;
  // `source`: address and port of the sender as bytes.
  bool mac2_fits(ByteView message, ByteView source, Time now);
  CookieReply reply(ByteView message, ByteView source, Time now);

 private:
  Mac cookie_for(ByteView source, Time now);

  Hash mac1_key_, cookie_key_;
  Secret secret_;
  std::optional<Time> secret_made_;
};

// Puts the MACs on messages that go out to one peer.
class CookieMaker {
 public:
  explicit CookieMaker(const PublicKey& remote = {});
  void add_macs(std::span<uint8_t> message, Time now);
  bool consume(const CookieReply& reply,
               Time now);  // false: it answers nothing that we sent, or isn't authentic

 private:
  Hash mac1_key_, cookie_key_;
  std::optional<Mac> last_mac1_;
  Mac cookie_ = {};
  std::optional<Time> cookie_made_;
};

// 20 handshake messages a second from one source (an IPv4 address, an IPv6 /64), 5 at once; asked only under
// load.
class SourceLimiter {
 public:
  bool allow(ByteView address, Time now);

 private:
  struct Bucket {
    Time updated, tokens;
  };
  std::unordered_map<uint64_t, Bucket> buckets_;
  Time swept_ = {};
};

}  // namespace rayctl::wg
