#include "wg/timers.h"

namespace rayctl::wg {

namespace {

constexpr int attempt_limit = rekey_attempt_time / rekey_timeout;
constexpr auto forget_after = reject_after_time * 3;

bool take(std::optional<Time>& timer, Time now) {
  if (!timer || *timer > now) return false;
  timer.reset();
  return true;
}

}  // namespace

void PeerTimers::set_persistent(std::chrono::seconds interval, Time first) {
  if (interval_ == interval) return;
  interval_ = interval;
  persistent_.reset();
  if (interval_ > Time::zero()) persistent_ = first;  // this one makes the session
}

void PeerTimers::data_sent(Time now, Time jitter) {
  // Whoever hears nothing for this long after it sent something needs a new session.
  if (!new_handshake_) new_handshake_ = now + keepalive_timeout + rekey_timeout + jitter;
}

void PeerTimers::data_received(Time now) {
  if (!keepalive_)
    keepalive_ = now + keepalive_timeout;
  else
    another_keepalive_ = true;
}

void PeerTimers::traversed(Time now) {
  if (interval_ > Time::zero()) persistent_ = now + interval_;
}

void PeerTimers::authentic_sent(Time now) {
  keepalive_.reset();
  traversed(now);
}

void PeerTimers::authentic_received(Time now) {
  new_handshake_.reset();
  traversed(now);
}

void PeerTimers::initiation_sent(Time now, Time jitter) {
  retransmit_ = now + rekey_timeout + jitter;
}

void PeerTimers::handshake_completed() {
  retransmit_.reset();
  attempts_ = 0;
}

void PeerTimers::session_derived(Time now) {
  forget_ = now + forget_after;
}

std::optional<Time> PeerTimers::next() const {
  std::optional<Time> first;
  for (const auto& timer : {retransmit_, keepalive_, new_handshake_, forget_, persistent_})
    if (timer && (!first || *timer < *first)) first = timer;
  return first;
}

Due PeerTimers::expire(Time now) {
  Due due;
  if (take(retransmit_, now)) {
    if (attempts_ > attempt_limit) {
      due.give_up = true;
      keepalive_.reset();
      if (!forget_) forget_ = now + forget_after;
    } else {
      ++attempts_;
      due.retry = true;
    }
  }
  if (take(new_handshake_, now)) due.initiate = true;
  if (take(keepalive_, now)) {
    due.keepalive = true;
    if (another_keepalive_) keepalive_ = now + keepalive_timeout;
    another_keepalive_ = false;
  }
  if (take(persistent_, now)) {
    due.keepalive = true;
    persistent_ = now + interval_;
  }
  if (take(forget_, now)) due.forget_keys = true;
  return due;
}

}  // namespace rayctl::wg
