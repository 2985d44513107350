// The device's table, its transport messages and timers; device_handshake.cc has the handshakes.
#include "wg/device.h"

#include <algorithm>
#include <cstring>

#include "wg/ip_packet.h"

namespace rayctl::wg {

namespace {

constexpr size_t waiting_packets = 256;  // per peer
constexpr size_t waiting_limit = 1 << 20;
constexpr int timers_at_once = 32;
constexpr size_t waiting_limit_all = 32 << 20;
// Before an initiator's session is too old to receive with, it asks for a new one when it hears something.
constexpr auto last_minute = reject_after_time - keepalive_timeout - rekey_timeout;

}  // namespace

Device::Device() {
  uint32_t seed;
  fill_random({reinterpret_cast<uint8_t*>(&seed), sizeof seed});
  random_.seed(seed);
}

void Device::set_table(const TunnelTable& table, Moment now) {
  bool new_key = !own_ || table.private_key != table_.private_key;
  if (new_key) {
    own_ = DhKey(table.private_key);
    checker_ = CookieChecker(own_.public_key());
    handshakes_.clear();
  }
  table_ = table;
  std::map<PublicKey, std::unique_ptr<Peer>> before;
  for (auto& peer : peers_) before.emplace(peer->config.public_key, std::move(peer));
  peers_.clear();
  by_key_.clear();
  allowed_ = {};
  aes_ = chacha_ = false;
  last_owner_ = {};
  for (const TunnelPeer& config : table.peers) {
    std::unique_ptr<Peer> peer;
    if (auto found = before.find(config.public_key); found != before.end()) {
      peer = std::move(found->second);
      before.erase(found);
      if (config.endpoint && config.endpoint != peer->config.endpoint) peer->endpoint = config.endpoint;
      if (config.cipher != peer->config.cipher || new_key) retire(*peer);
      peer->config = config;
      peer->keys = {config.public_key, config.preshared_key, config.cipher};
    } else {
      peer = std::make_unique<Peer>(config);
    }
    if (new_key) peer->static_static.reset();
    peer->index = static_cast<int>(peers_.size());
    for (const net::Subnet& subnet : config.allowed_ips) allowed_.insert(subnet, peer->index);
    (config.cipher == Cipher::aes256gcm ? aes_ : chacha_) = true;
    peer->timers.set_persistent(config.keepalive, now.boot + jitter());
    arm(*peer);
    by_key_[config.public_key] = peer.get();
    peers_.push_back(std::move(peer));
  }
  for (auto& [key, peer] : before) {
    forget(*peer);
    drop_waiting(*peer, Drop::no_peer);
    if (peer->armed) timers_.erase({*peer->armed, peer.get()});
    std::erase(ready, peer.get());
  }
}

// --- from the link ---

Peer* Device::route(ByteView packet) {
  int version = ip_version(packet);
  int found = AllowedIps::none;
  if (version == 4) found = allowed_.find_v4(&packet[16]);
  if (version == 6) found = allowed_.find_v6(&packet[24]);
  if (found == AllowedIps::none) {
    drops.add(version == 0 ? Drop::bad_packet : Drop::no_peer);
    return nullptr;
  }
  return peers_[static_cast<size_t>(found)].get();
}

Session* Device::session_for_sending(Peer& peer, Moment now) {
  if (peer.current && peer.endpoint && peer.current->usable_for_sending(now.boot)) return peer.current.get();
  initiate(peer, now, false);
  return nullptr;
}

void Device::hold(Peer& peer, ByteView frame) {
  if (!peer.endpoint) {
    peer.drops.add(Drop::no_endpoint);
    return;
  }
  while (!peer.waiting.empty() &&
         (peer.waiting.size() >= waiting_packets || peer.waiting_bytes + frame.size() > waiting_limit)) {
    take_waiting(peer);
    peer.drops.add(Drop::queue_full);
  }
  if (waiting_bytes_ + frame.size() > waiting_limit_all) {
    peer.drops.add(Drop::queue_full);
    return;
  }
  peer.waiting.emplace_back(frame.begin(), frame.end());
  peer.waiting_bytes += frame.size();
  waiting_bytes_ += frame.size();
}

std::vector<uint8_t> Device::take_waiting(Peer& peer) {
  std::vector<uint8_t> frame = std::move(peer.waiting.front());
  peer.waiting.pop_front();
  peer.waiting_bytes -= frame.size();
  waiting_bytes_ -= frame.size();
  return frame;
}

void Device::sent_data(Peer& peer, Session& session, uint64_t bytes, Moment now) {
  peer.sent_bytes += bytes;
  peer.timers.authentic_sent(now.boot);
  peer.timers.data_sent(now.boot, jitter());
  arm(peer);
  if (session.next_counter > rekey_after_messages ||
      (session.role == Role::initiator && now.boot - session.born >= table_.rekey_after))
    initiate(peer, now, false);
}

// --- from the socket ---

bool Device::source_fits(const Peer& peer, ByteView packet) {
  int found = packet[0] >> 4 == 4 ? allowed_.find_v4(&packet[12]) : allowed_.find_v6(&packet[8]);
  return found == peer.index;
}

std::optional<Delivery> Device::receive_data(std::span<uint8_t> message, const Endpoint& from, Moment now) {
  if (message.size() < data_header_size + tag_size) {
    drops.add(Drop::unknown_message);
    return std::nullopt;
  }
  uint32_t index = load32(&message[4]);
  uint64_t counter = load64(&message[8]);
  if (!last_owner_.peer || index != last_index_) {
    auto found = by_index_.find(index);
    if (found == by_index_.end() || !found->second.session) {
      drops.add(Drop::unknown_session);
      meet_stray(from, now);
      return std::nullopt;
    }
    last_index_ = index;
    last_owner_ = found->second;
  }
  Peer& peer = *last_owner_.peer;
  Session& session = *last_owner_.session;
  if (!session.usable_for_receiving(counter, now.boot)) {
    peer.drops.add(Drop::expired_session);
    return std::nullopt;
  }
  size_t size = message.size() - data_header_size - tag_size;
  std::span<uint8_t> packet = message.subspan(data_header_size, size);
  if (!session.receive.open(counter, packet.data(), size)) {
    peer.drops.add(Drop::not_authentic);
    return std::nullopt;
  }
  if (!session.window.take(counter)) {
    peer.drops.add(Drop::replayed);
    return std::nullopt;
  }
  if (&session == peer.next.get()) confirm_next(peer, now);
  if (peer.endpoint != from) peer.endpoint = from;
  peer.received_bytes += message.size();
  peer.timers.authentic_received(now.boot);
  if (!peer.asked_in_time && peer.current && peer.current->role == Role::initiator &&
      now.boot - peer.current->born >= last_minute) {
    peer.asked_in_time = true;
    initiate(peer, now, false);
  }
  if (size > 0) peer.timers.data_received(now.boot);
  arm(peer);
  if (size == 0) return std::nullopt;  // a keepalive

  size_t length = ip_length(packet);
  if (length == 0) {
    peer.drops.add(Drop::bad_inner);
    return std::nullopt;
  }
  if (!source_fits(peer, packet)) {
    peer.drops.add(Drop::wrong_source);
    return std::nullopt;
  }
  return Delivery{&peer, packet.first(length)};
}

// --- sessions ---

void Device::confirm_next(Peer& peer, Moment now) {
  close(peer.previous);
  peer.previous = std::move(peer.current);
  peer.current = std::move(peer.next);
  peer.last_handshake = now.unix_ns;
  ++peer.handshakes;
  peer.asked_in_time = false;
  peer.timers.handshake_completed();
  send_waiting(peer, now);
}

void Device::start_session(Peer& peer, std::unique_ptr<Session> session, Moment now) {
  if (session->role == Role::initiator) {
    // The response proved that the peer has the keys: they may be used at once.
    close(peer.previous);
    if (peer.next) {
      close(peer.current);
      peer.previous = std::move(peer.next);
    } else {
      peer.previous = std::move(peer.current);
    }
    peer.current = std::move(session);
  } else {
    close(peer.next);
    close(peer.previous);
    peer.next = std::move(session);
  }
  peer.timers.session_derived(now.boot);
}

void Device::close(std::unique_ptr<Session>& session) {
  if (!session) return;
  by_index_.erase(session->local);
  if (last_owner_.session == session.get()) last_owner_ = {};
  session.reset();
}

void Device::retire(Peer& peer) {
  if (peer.initiator) by_index_.erase(peer.initiator_index);
  peer.initiator.reset();
  peer.last_sent_handshake.reset();
  close(peer.next);
  if (peer.current) peer.current->may_send = false;
}

void Device::forget(Peer& peer) {
  if (peer.initiator) by_index_.erase(peer.initiator_index);
  peer.initiator.reset();
  close(peer.current);
  close(peer.previous);
  close(peer.next);
}

void Device::forget_sessions() {
  for (auto& peer : peers_) forget(*peer);
}

void Device::send_keepalive(Peer& peer, Moment now) {
  if (!peer.waiting.empty()) {
    send_waiting(peer, now);
    return;
  }
  Session* session = session_for_sending(peer, now);
  if (!session) return;
  std::vector<uint8_t> bytes(data_header_size + tag_size);
  session->seal(bytes.data(), 0);
  peer.sent_bytes += bytes.size();
  outbox.push_back({*peer.endpoint, std::move(bytes)});
  peer.timers.authentic_sent(now.boot);
  arm(peer);
  if (session->role == Role::initiator && now.boot - session->born >= table_.rekey_after)
    initiate(peer, now, false);
}

void Device::send_waiting(Peer& peer, Moment) {
  if (!peer.waiting.empty()) ready.push_back(&peer);
}

void Device::drop_waiting(Peer& peer, Drop reason) {
  peer.drops.add(reason, peer.waiting.size());
  waiting_bytes_ -= peer.waiting_bytes;
  peer.waiting.clear();
  peer.waiting_bytes = 0;
}

// --- time ---

void Device::arm(Peer& peer) {
  // What comes later than the look that is planned can wait for it: most timers move on before they fire.
  auto next = peer.timers.next();
  if (!next || (peer.armed && *peer.armed <= *next)) return;
  if (peer.armed) timers_.erase({*peer.armed, &peer});
  peer.armed = next;
  timers_.insert({*next, &peer});
}

std::optional<Time> Device::next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first;
}

void Device::run_timers(Moment now) {
  // Bounded, so that thousands of handshakes that are due at once don't stop the packets.
  for (int i = 0; i < timers_at_once && !timers_.empty() && timers_.begin()->first <= now.boot; ++i) {
    Peer& peer = *timers_.begin()->second;
    timers_.erase(timers_.begin());
    peer.armed.reset();
    Due due = peer.timers.expire(now.boot);
    if (due.give_up) {
      if (peer.initiator) by_index_.erase(peer.initiator_index);
      peer.initiator.reset();
      drop_waiting(peer, Drop::queue_full);
    }
    if (due.forget_keys) {
      forget(peer);
      drop_waiting(peer, Drop::queue_full);
    }
    if (due.retry) initiate(peer, now, true);
    if (due.initiate) initiate(peer, now, false);
    if (due.keepalive) send_keepalive(peer, now);
    arm(peer);
  }
}

Time Device::jitter() {
  return std::chrono::milliseconds(random_() % static_cast<uint32_t>(jitter_limit.count()));
}

void Device::raise_timestamp(uint64_t unix_ns) {
  newest_timestamp_ = std::max(newest_timestamp_, unix_ns);
}

}  // namespace rayctl::wg
