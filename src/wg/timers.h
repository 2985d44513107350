// When a peer's handshakes, keepalives and the wiping of its keys are due. WireGuard's white paper,
// section 6.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace rayctl::wg {

using Time = std::chrono::nanoseconds;  // since boot, suspended time included

constexpr uint64_t rekey_after_messages = uint64_t{1} << 60;
constexpr uint64_t reject_after_messages = UINT64_MAX - (uint64_t{1} << 13);
constexpr std::chrono::seconds rekey_after_time{120};
constexpr std::chrono::seconds reject_after_time{180};
constexpr std::chrono::seconds rekey_attempt_time{90};
constexpr std::chrono::seconds rekey_timeout{5};
constexpr std::chrono::seconds keepalive_timeout{10};
constexpr std::chrono::milliseconds jitter_limit{333};  // added to what would else happen at once everywhere

// What is due; several may be at one time.
struct Due {
  bool initiate = false;     // begin a handshake
  bool retry = false;        // send an initiation again
  bool give_up = false;      // 90 s of initiations without an answer: drop what waits
  bool keepalive = false;    // an empty packet
  bool forget_keys = false;  // 540 s without a new session: wipe
  bool any() const { return initiate || retry || give_up || keepalive || forget_keys; }
};

// A state machine without a clock: each event brings the time.
class PeerTimers {
 public:
  void set_persistent(std::chrono::seconds interval, Time first);  // 0: off; `first`: when to begin

  void data_sent(Time now, Time jitter);  // not a keepalive
  void data_received(Time now);           // not a keepalive
  void authentic_sent(Time now);          // anything but a cookie
  void authentic_received(Time now);
  void initiation_sent(Time now, Time jitter);
  void begin_attempts() { attempts_ = 0; }  // this initiation isn't a retry
  void handshake_completed();
  void session_derived(Time now);

  int attempts() const { return attempts_; }
  std::optional<Time> next() const;
  Due expire(Time now);  // takes what is due

 private:
  void traversed(Time now);

  std::optional<Time> retransmit_, keepalive_, new_handshake_, forget_, persistent_;
  bool another_keepalive_ = false;
  int attempts_ = 0;
  Time interval_{0};
};

}  // namespace rayctl::wg
