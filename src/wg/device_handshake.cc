// Handshake messages: queued, admitted, answered, made.
#include <algorithm>
#include <cstring>

#include "wg/device.h"

namespace rayctl::wg {

namespace {

using namespace std::chrono_literals;

constexpr size_t queue_limit = 4096;
constexpr size_t queue_load = queue_limit / 8;  // from here on senders prove their address first
// … or when handshakes take a tenth of a core: packets need it.
constexpr Time work_window = 100ms;
constexpr int work_limit = 50;
constexpr Time load_memory = 1s;
constexpr Time initiation_gap = 20ms;  // of one peer
constexpr Time stray_pause = 100ms;
constexpr int retries_before_table = 3;
constexpr uint64_t timestamp_step = 1 << 24;

// Address and port as bytes: what a cookie is bound to.
struct Source {
  explicit Source(const Endpoint& from) : address_size(from.address.size()) {
    std::memcpy(bytes.data(), from.address.bytes.data(), address_size);
    bytes[address_size] = static_cast<uint8_t>(from.port >> 8);
    bytes[address_size + 1] = static_cast<uint8_t>(from.port);
  }
  ByteView address() const { return {bytes.data(), address_size}; }
  ByteView all() const { return {bytes.data(), address_size + 2}; }

  size_t address_size;
  std::array<uint8_t, 18> bytes = {};
};

template <size_t N>
std::array<uint8_t, N> fixed(ByteView bytes) {
  std::array<uint8_t, N> copy;
  std::memcpy(copy.data(), bytes.data(), N);
  return copy;
}

}  // namespace

void Device::receive_message(ByteView message, const Endpoint& from, Moment now) {
  uint32_t type = message.size() >= 4 ? load32(message.data()) : 0;
  if (type == static_cast<uint32_t>(MessageType::cookie) && message.size() == cookie_size) {
    consume_cookie(message, now);
  } else if ((type == static_cast<uint32_t>(MessageType::initiation) && message.size() == initiation_size) ||
             (type == static_cast<uint32_t>(MessageType::response) && message.size() == response_size)) {
    if (!checker_.mac1_fits(message))
      drops.add(Drop::bad_mac1);
    else if (handshakes_.size() >= queue_limit)
      drops.add(Drop::handshake_queue);
    else
      handshakes_.push_back({{message.begin(), message.end()}, from});
  } else {
    drops.add(Drop::unknown_message);
  }
}

bool Device::under_load(Moment now) {
  if (now.boot - worked_since_ >= work_window) {
    worked_since_ = now.boot;
    worked_ = 0;
  }
  if (handshakes_.size() >= queue_load || worked_ >= work_limit) loaded_ = now.boot;
  return loaded_ && now.boot - *loaded_ < load_memory;
}

void Device::work_handshakes(int limit, Moment now) {
  // Whoever must be sent a cookie costs little: only real work counts.
  while (limit > 0 && !handshakes_.empty()) {
    bool loaded = under_load(now);
    Handshake handshake = std::move(handshakes_.front());
    handshakes_.pop_front();
    if (loaded) {
      Source source(handshake.from);
      if (!checker_.mac2_fits(handshake.bytes, source.all(), now.boot)) {
        drops.add(Drop::cookie_sent);
        CookieReply reply = checker_.reply(handshake.bytes, source.all(), now.boot);
        outbox.push_back({handshake.from, {reply.begin(), reply.end()}});
        continue;
      }
      if (!limiter_.allow(source.address(), now.boot)) {
        drops.add(Drop::rate_limited);
        continue;
      }
    }
    --limit;
    ++worked_;
    if (handshake.bytes.size() == initiation_size)
      consume_initiation(fixed<initiation_size>(handshake.bytes), handshake.from, now);
    else
      consume_response(fixed<response_size>(handshake.bytes), handshake.from, now);
  }
}

Peer* Device::peer_of(const PublicKey& key) {
  auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second;
}

const Secret* Device::static_static(Peer& peer) {
  if (!peer.static_static) peer.static_static = own_.agree(peer.keys.remote);
  return peer.static_static ? &*peer.static_static : nullptr;
}

void Device::consume_initiation(const Initiation& message, const Endpoint& from, Moment now) {
  auto shared = initiation_shared(own_, message);
  std::optional<OpenedInitiation> opened;
  if (shared && chacha_) opened = open_initiation(own_, Cipher::chacha20poly1305, *shared, message);
  if (shared && aes_ && !opened) opened = open_initiation(own_, Cipher::aes256gcm, *shared, message);
  if (!opened) {
    drops.add(Drop::bad_handshake);
    return;
  }
  Peer* peer = peer_of(opened->remote);
  if (!peer) {
    drops.add(Drop::unknown_peer);
    return;
  }
  if (opened->transcript.cipher != peer->keys.cipher) {
    peer->drops.add(Drop::wrong_cipher);
    return;
  }
  const Secret* secret = static_static(*peer);
  if (!secret || !verify_initiation(*secret, message, *opened)) {
    peer->drops.add(Drop::bad_handshake);
    return;
  }
  if (opened->timestamp <= peer->newest_timestamp) {
    peer->drops.add(Drop::old_handshake);
    return;
  }
  if (peer->last_initiation && now.boot - *peer->last_initiation < initiation_gap) {
    peer->drops.add(Drop::flooding_handshake);
    return;
  }
  peer->newest_timestamp = opened->timestamp;
  peer->last_initiation = now.boot;
  peer->endpoint = from;
  peer->received_bytes += message.size();
  peer->timers.authentic_received(now.boot);
  respond(*peer, *opened, now);
  arm(*peer);
}

void Device::respond(Peer& peer, const OpenedInitiation& initiation, Moment now) {
  SessionKeys keys;
  uint32_t index = new_index(peer, nullptr);
  auto response = make_response(peer.keys, initiation, new_private_key(), index, keys);
  if (!response) {
    by_index_.erase(index);
    peer.drops.add(Drop::bad_handshake);
    return;
  }
  auto session = std::make_unique<Session>(keys, Role::responder, index, initiation.sender, now.boot);
  by_index_[index].session = session.get();
  start_session(peer, std::move(session), now);
  peer.cookies.add_macs(*response, now.boot);
  peer.last_sent_handshake = now.boot;
  peer.sent_bytes += response->size();
  peer.timers.authentic_sent(now.boot);
  outbox.push_back({*peer.endpoint, {response->begin(), response->end()}});
}

void Device::consume_response(const Response& message, const Endpoint& from, Moment now) {
  uint32_t receiver = load32(&message[8]);
  auto found = by_index_.find(receiver);
  if (found == by_index_.end() || found->second.session || !found->second.peer->initiator) {
    drops.add(Drop::unknown_session);
    return;
  }
  Peer& peer = *found->second.peer;
  auto keys = open_response(own_, peer.keys, *peer.initiator, message);
  if (!keys) {
    peer.drops.add(Drop::bad_handshake);
    return;
  }
  auto session = std::make_unique<Session>(*keys, Role::initiator, receiver, load32(&message[4]), now.boot);
  found->second.session = session.get();
  peer.initiator.reset();
  peer.endpoint = from;
  peer.received_bytes += message.size();
  start_session(peer, std::move(session), now);
  peer.last_handshake = now.unix_ns;
  ++peer.handshakes;
  peer.asked_in_time = false;
  peer.timers.authentic_received(now.boot);
  peer.timers.handshake_completed();
  arm(peer);
  // What we send first tells the peer that it may send.
  send_keepalive(peer, now);
}

void Device::consume_cookie(ByteView message, Moment now) {
  auto found = by_index_.find(load32(&message[4]));
  if (found == by_index_.end() || !found->second.peer->cookies.consume(fixed<cookie_size>(message), now.boot))
    drops.add(Drop::unknown_session);
}

void Device::initiate(Peer& peer, Moment now, bool retry) {
  if (!retry) peer.timers.begin_attempts();
  if (peer.last_sent_handshake && now.boot - *peer.last_sent_handshake < rekey_timeout) {
    // We answered a moment ago and the peer hasn't confirmed: try it ourselves when it doesn't.
    if (!peer.initiator && !peer.current) peer.timers.initiation_sent(*peer.last_sent_handshake, jitter());
    arm(peer);
    return;
  }
  // An endpoint that a NAT or a stray packet led us to may be wrong for good: go back to what the table says.
  if (retry && peer.timers.attempts() >= retries_before_table && peer.config.endpoint)
    peer.endpoint = peer.config.endpoint;
  const Secret* secret = static_static(peer);
  if (!peer.endpoint || !secret) return;
  if (peer.initiator) by_index_.erase(peer.initiator_index);
  peer.initiator.emplace();
  peer.initiator_index = new_index(peer, nullptr);
  auto message = make_initiation(own_, *secret, peer.keys, new_private_key(), next_timestamp(now),
                                 peer.initiator_index, *peer.initiator);
  if (!message) {
    by_index_.erase(peer.initiator_index);
    peer.initiator.reset();
    peer.drops.add(Drop::bad_handshake);
    return;
  }
  peer.cookies.add_macs(*message, now.boot);
  peer.last_sent_handshake = now.boot;
  peer.sent_bytes += message->size();
  outbox.push_back({*peer.endpoint, {message->begin(), message->end()}});
  peer.timers.authentic_sent(now.boot);
  peer.timers.initiation_sent(now.boot, jitter());
  arm(peer);
}

void Device::recall(const std::map<PublicKey, Endpoint>& peers, Moment now) {
  for (const auto& [key, endpoint] : peers)
    if (Peer* peer = peer_of(key)) {
      peer->endpoint = endpoint;
      initiate(*peer, now, false);
    }
}

// Data of a session that we don't have: its sender won't notice for 15 s that we were restarted, unless we
// begin. Nothing here is authentic, so that it costs one look in a while, and one initiation in 5 s.
void Device::meet_stray(const Endpoint& from, Moment now) {
  if (last_stray_ && now.boot - *last_stray_ < stray_pause) return;
  last_stray_ = now.boot;
  for (const auto& peer : peers_)
    if (peer->endpoint == from && !(peer->current && peer->current->usable_for_sending(now.boot)))
      initiate(*peer, now, false);
}

uint32_t Device::new_index(Peer& peer, Session* session) {
  for (;;) {
    uint32_t index;
    fill_random({reinterpret_cast<uint8_t*>(&index), sizeof index});
    if (by_index_.emplace(index, Owner{&peer, session}).second) return index;
  }
}

Timestamp Device::next_timestamp(Moment now) {
  newest_timestamp_ = std::max(now.unix_ns, newest_timestamp_ + timestamp_step);
  return tai64n(newest_timestamp_);
}

}  // namespace rayctl::wg
