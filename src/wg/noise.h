// The handshake Noise_IKpsk2_25519_<cipher>_BLAKE2s as WireGuard has it: WireGuard's white paper,
// section 5.4. Everything random and the time are given in, so that a handshake can be repeated byte for
// byte.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "wg/crypto.h"

namespace rayctl::wg {

enum class MessageType : uint32_t { initiation = 1, response = 2, cookie = 3, data = 4 };

constexpr size_t initiation_size = 148;
constexpr size_t response_size = 92;
constexpr size_t cookie_size = 64;
constexpr size_t data_header_size = 16;
constexpr size_t macs_size = 32;  // MAC1 and MAC2 at the end of the first two

using Initiation = std::array<uint8_t, initiation_size>;
using Response = std::array<uint8_t, response_size>;
using Timestamp = std::array<uint8_t, 12>;  // TAI64N: compares as bytes

// `unix_ns` since 1970, rounded down to 2^24 ns so that it tells little about the machine's clock.
Timestamp tai64n(uint64_t unix_ns);

// What a pair of peers shares before it ever met.
struct PeerKeys {
  PublicKey remote = {};
  Secret preshared = {};  // zeros: none
  Cipher cipher = Cipher::chacha20poly1305;
};

// What a handshake yields.
struct SessionKeys {
  Secret send = {}, receive = {};
  Cipher cipher = Cipher::chacha20poly1305;
};

// The running hash and chaining key.
struct Transcript {
  Cipher cipher = Cipher::chacha20poly1305;
  Hash hash = {};
  Secret chain = {};
};

// The initiator's memory between its message and the answer.
struct InitiatorState {
  Transcript transcript = {};
  Secret ephemeral = {};
};

// Message 1 without its MACs. `static_static` = DH of both long-lived keys. Empty when the peer's public key
// is useless (a point of small order).
std::optional<Initiation> make_initiation(const DhKey& own, const Secret& static_static, const PeerKeys& peer,
                                          const Secret& ephemeral, const Timestamp& timestamp,
                                          uint32_t sender, InitiatorState& state);

// Message 1 as the responder sees it, in two steps: who is it, then is it that peer, and when.
struct OpenedInitiation {
  Transcript transcript = {};
  PublicKey ephemeral = {};
  PublicKey remote = {};
  Timestamp timestamp = {};
  uint32_t sender = 0;
};
// `shared` = DH of our key and the message's ephemeral one: the same for each cipher that is tried.
std::optional<Secret> initiation_shared(const DhKey& own, const Initiation& message);
std::optional<OpenedInitiation> open_initiation(const DhKey& own, Cipher cipher, const Secret& shared,
                                                const Initiation& message);
bool verify_initiation(const Secret& static_static, const Initiation& message, OpenedInitiation& opened);

// Message 2 without its MACs, and the responder's keys.
std::optional<Response> make_response(const PeerKeys& peer, const OpenedInitiation& initiation,
                                      const Secret& ephemeral, uint32_t sender, SessionKeys& keys);

// The initiator's end of it; empty when the response isn't authentic.
std::optional<SessionKeys> open_response(const DhKey& own, const PeerKeys& peer, const InitiatorState& state,
                                         const Response& message);

}  // namespace rayctl::wg
