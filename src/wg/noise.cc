#include "wg/noise.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace rayctl::wg {

namespace {

// Offsets within the messages.
constexpr size_t sender_at = 4;
constexpr size_t ephemeral_at = 8;
constexpr size_t static_at = 40;
constexpr size_t timestamp_at = 88;
constexpr size_t response_receiver_at = 8;
constexpr size_t response_ephemeral_at = 12;
constexpr size_t empty_at = 44;

ByteView view(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void mix_hash(Transcript& t, ByteView data) {
  t.hash = blake2s(t.hash, data);
}

// The hash after the pre-message, the responder's public key.
Transcript begin(Cipher cipher, const PublicKey& responder) {
  std::string_view construction = cipher == Cipher::aes256gcm ? "Noise_IKpsk2_25519_AESGCM_BLAKE2s"
                                                              : "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
  Transcript t;
  t.cipher = cipher;
  t.chain.bytes = blake2s(view(construction));
  t.hash = blake2s(t.chain.bytes, view("WireGuard v1 zx2c4 Jason@zx2c4.com"));
  mix_hash(t, responder);
  return t;
}

// Encrypts `size` bytes at `data` under `key`, bound to all that was said before; the tag goes behind.
void seal(Transcript& t, const Secret& key, uint8_t* data, size_t size) {
  Aead(t.cipher, Aead::Use::seal, key).seal(0, data, size, t.hash);
  mix_hash(t, {data, size + tag_size});
}

bool open(Transcript& t, const Secret& key, const uint8_t* sealed, size_t size, uint8_t* plain) {
  std::array<uint8_t, 64> copy;
  std::memcpy(copy.data(), sealed, size + tag_size);
  if (!Aead(t.cipher, Aead::Use::open, key).open(0, copy.data(), size, t.hash)) return false;
  mix_hash(t, {sealed, size + tag_size});
  if (size > 0) std::memcpy(plain, copy.data(), size);
  return true;
}

PublicKey key_at(const uint8_t* bytes) {
  PublicKey key;
  std::memcpy(key.data(), bytes, key.size());
  return key;
}

}  // namespace

Timestamp tai64n(uint64_t unix_ns) {
  constexpr uint64_t whiten = (1 << 24) - 1;
  uint64_t seconds = (uint64_t{1} << 62) + 10 + unix_ns / 1000000000;
  uint64_t nanoseconds = unix_ns % 1000000000 & ~whiten;
  Timestamp stamp;
  for (size_t i = 0; i < 8; ++i) stamp[i] = static_cast<uint8_t>(seconds >> (56 - 8 * i));
  for (size_t i = 0; i < 4; ++i) stamp[8 + i] = static_cast<uint8_t>(nanoseconds >> (24 - 8 * i));
  return stamp;
}

std::optional<Initiation> make_initiation(const DhKey& own, const Secret& static_static, const PeerKeys& peer,
                                          const Secret& ephemeral, const Timestamp& timestamp,
                                          uint32_t sender, InitiatorState& state) {
  Transcript t = begin(peer.cipher, peer.remote);
  Initiation message = {};
  store32(message.data(), static_cast<uint32_t>(MessageType::initiation));
  store32(&message[sender_at], sender);
  DhKey key(ephemeral);
  std::copy(key.public_key().begin(), key.public_key().end(), &message[ephemeral_at]);
  mix_hash(t, key.public_key());
  derive(t.chain, key.public_key(), &t.chain);

  auto shared = key.agree(peer.remote);
  if (!shared) return std::nullopt;
  Secret secret;
  derive(t.chain, shared->bytes, &t.chain, &secret);
  std::copy(own.public_key().begin(), own.public_key().end(), &message[static_at]);
  seal(t, secret, &message[static_at], 32);

  derive(t.chain, static_static.bytes, &t.chain, &secret);
  std::copy(timestamp.begin(), timestamp.end(), &message[timestamp_at]);
  seal(t, secret, &message[timestamp_at], timestamp.size());

  state = {t, ephemeral};
  return message;
}

std::optional<Secret> initiation_shared(const DhKey& own, const Initiation& message) {
  return own.agree(key_at(&message[ephemeral_at]));
}

std::optional<OpenedInitiation> open_initiation(const DhKey& own, Cipher cipher, const Secret& shared,
                                                const Initiation& message) {
  OpenedInitiation opened;
  Transcript& t = opened.transcript;
  t = begin(cipher, own.public_key());
  opened.sender = load32(&message[sender_at]);
  opened.ephemeral = key_at(&message[ephemeral_at]);
  mix_hash(t, opened.ephemeral);
  derive(t.chain, opened.ephemeral, &t.chain);
  Secret secret;
  derive(t.chain, shared.bytes, &t.chain, &secret);
  if (!open(t, secret, &message[static_at], 32, opened.remote.data())) return std::nullopt;
  return opened;
}

bool verify_initiation(const Secret& static_static, const Initiation& message, OpenedInitiation& opened) {
  Transcript& t = opened.transcript;
  Secret secret;
  derive(t.chain, static_static.bytes, &t.chain, &secret);
  return open(t, secret, &message[timestamp_at], opened.timestamp.size(), opened.timestamp.data());
}

std::optional<Response> make_response(const PeerKeys& peer, const OpenedInitiation& initiation,
                                      const Secret& ephemeral, uint32_t sender, SessionKeys& keys) {
  Transcript t = initiation.transcript;
  Response message = {};
  store32(message.data(), static_cast<uint32_t>(MessageType::response));
  store32(&message[sender_at], sender);
  store32(&message[response_receiver_at], initiation.sender);
  DhKey key(ephemeral);
  std::copy(key.public_key().begin(), key.public_key().end(), &message[response_ephemeral_at]);
  mix_hash(t, key.public_key());
  derive(t.chain, key.public_key(), &t.chain);
  for (const PublicKey& other : {initiation.ephemeral, peer.remote}) {
    auto shared = key.agree(other);
    if (!shared) return std::nullopt;
    derive(t.chain, shared->bytes, &t.chain);
  }
  Secret tau, secret;
  derive(t.chain, peer.preshared.bytes, &t.chain, &tau, &secret);
  mix_hash(t, tau.bytes);
  seal(t, secret, &message[empty_at], 0);

  keys.cipher = t.cipher;
  derive(t.chain, {}, &keys.receive, &keys.send);
  return message;
}

std::optional<SessionKeys> open_response(const DhKey& own, const PeerKeys& peer, const InitiatorState& state,
                                         const Response& message) {
  Transcript t = state.transcript;
  PublicKey remote = key_at(&message[response_ephemeral_at]);
  mix_hash(t, remote);
  derive(t.chain, remote, &t.chain);
  for (const DhKey& key : {DhKey(state.ephemeral), own}) {
    auto shared = key.agree(remote);
    if (!shared) return std::nullopt;
    derive(t.chain, shared->bytes, &t.chain);
  }
  Secret tau, secret;
  derive(t.chain, peer.preshared.bytes, &t.chain, &tau, &secret);
  mix_hash(t, tau.bytes);
  if (!open(t, secret, &message[empty_at], 0, nullptr)) return std::nullopt;

  SessionKeys keys;
  keys.cipher = t.cipher;
  derive(t.chain, {}, &keys.send, &keys.receive);
  return keys;
}

}  // namespace rayctl::wg
