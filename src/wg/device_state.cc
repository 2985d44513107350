// DeviceState of handover.h.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "wg/handover.h"

namespace rayctl::wg {

namespace {

using nlohmann::json;

template <class T>
json binary(const T& bytes) {
  const auto* begin = reinterpret_cast<const uint8_t*>(bytes.data());
  return json::binary(std::vector<uint8_t>(begin, begin + bytes.size() * sizeof bytes[0]));
}

template <class T>
void restore(const json& value, T& bytes) {
  const auto& binary = value.get_binary();
  if (binary.size() != bytes.size() * sizeof bytes[0])
    throw Error("cannot take over sessions: a size is wrong");
  std::memcpy(bytes.data(), binary.data(), binary.size());
}

constexpr const char* names[] = {"current", "previous", "next"};

}  // namespace

std::string DeviceState::save(const Device& device) {
  json peers = json::array();
  for (const auto& peer : device.peers_) {
    json item = {{"key", binary(peer->config.public_key)}, {"timestamp", binary(peer->newest_timestamp)},
                 {"received", peer->received_bytes},       {"sent", peer->sent_bytes},
                 {"last_handshake", peer->last_handshake}, {"handshakes", peer->handshakes}};
    if (peer->endpoint) item["endpoint"] = to_string(*peer->endpoint);
    const Session* sessions[] = {peer->current.get(), peer->previous.get(), peer->next.get()};
    for (size_t i = 0; i < 3; ++i) {
      const Session* s = sessions[i];
      if (!s) continue;
      item[names[i]] = {{"send", binary(s->keys.send.bytes)},
                        {"receive", binary(s->keys.receive.bytes)},
                        {"cipher", to_string(s->keys.cipher)},
                        {"initiator", s->role == Role::initiator},
                        {"local", s->local},
                        {"remote", s->remote},
                        {"born", s->born.count()},
                        {"may_send", s->may_send},
                        {"counter", s->next_counter},
                        {"highest", s->window.highest_},
                        {"window", binary(s->window.bits_)}};
    }
    peers.push_back(std::move(item));
  }
  std::vector<uint8_t> bytes = json::to_cbor({{"peers", peers}, {"timestamp", device.newest_timestamp_}});
  std::string text(bytes.begin(), bytes.end());
  wipe(bytes.data(), bytes.size());
  return text;
}

void DeviceState::load(Device& device, const std::string& bytes, Moment now) {
  try {
    json document = json::from_cbor(bytes);
    device.raise_timestamp(document.at("timestamp").get<uint64_t>());
    for (const json& item : document.at("peers")) {
      PublicKey key;
      restore(item.at("key"), key);
      Peer* peer = device.peer_of(key);
      if (!peer) continue;
      restore(item.at("timestamp"), peer->newest_timestamp);
      peer->received_bytes = item.at("received");
      peer->sent_bytes = item.at("sent");
      peer->last_handshake = item.at("last_handshake");
      peer->handshakes = item.at("handshakes");
      if (item.contains("endpoint")) peer->endpoint = parse_endpoint(item["endpoint"].get<std::string>());
      std::unique_ptr<Session>* sessions[] = {&peer->current, &peer->previous, &peer->next};
      for (size_t i = 0; i < 3; ++i) {
        if (!item.contains(names[i])) continue;
        const json& from = item[names[i]];
        SessionKeys keys;
        restore(from.at("send"), keys.send.bytes);
        restore(from.at("receive"), keys.receive.bytes);
        keys.cipher = parse_cipher(from.at("cipher").get<std::string>());
        auto session = std::make_unique<Session>(
            keys, from.at("initiator").get<bool>() ? Role::initiator : Role::responder, from.at("local"),
            from.at("remote"), Time(from.at("born").get<int64_t>()));
        session->may_send = from.at("may_send").get<bool>() && keys.cipher == peer->keys.cipher;
        session->next_counter = from.at("counter");
        session->window.highest_ = from.at("highest");
        restore(from.at("window"), session->window.bits_);
        device.by_index_[session->local] = {peer, session.get()};
        *sessions[i] = std::move(session);
        peer->timers.session_derived(now.boot);
      }
      device.arm(*peer);
    }
  } catch (const json::exception& error) {
    throw Error("cannot take over sessions: {}", error.what());
  }
}

}  // namespace rayctl::wg
