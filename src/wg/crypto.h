// The primitives of WireGuard's protocol, all of them OpenSSL's: X25519, BLAKE2s, HMAC over it, the AEADs.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace rayctl::wg {

using ByteView = std::span<const uint8_t>;

void wipe(void* data, size_t size);  // isn't optimised away

// Bytes that nobody else shall see; overwritten when they go.
template <size_t N>
struct SecretBytes {
  std::array<uint8_t, N> bytes = {};

  SecretBytes() = default;
  SecretBytes(const SecretBytes&) = default;
  SecretBytes& operator=(const SecretBytes&) = default;
  ~SecretBytes() { wipe(bytes.data(), N); }
  bool operator==(const SecretBytes&) const = default;  // for tables; never against what a peer sent
};
using Secret = SecretBytes<32>;

using PublicKey = std::array<uint8_t, 32>;
using Hash = std::array<uint8_t, 32>;
using Mac = std::array<uint8_t, 16>;

constexpr size_t tag_size = 16;

// The 44 characters of base64 that every WireGuard tool uses; `what` names the key in the error.
std::string key_text(ByteView key);
PublicKey parse_public_key(std::string_view text, std::string_view what);
Secret parse_secret(std::string_view text, std::string_view what);

void fill_random(std::span<uint8_t> bytes);
Secret new_private_key();
bool equal(ByteView a, ByteView b);  // in constant time

Hash blake2s(ByteView a, ByteView b = {});       // of both, one after the other
Mac keyed_blake2s(ByteView key, ByteView data);  // BLAKE2s-128 with a key: what MAC1, MAC2 and cookies are

// Noise's HKDF with HMAC-BLAKE2s. Outputs that aren't wanted are null; an output may be `key` itself.
void derive(const Secret& key, ByteView input, Secret* first, Secret* second = nullptr,
            Secret* third = nullptr);

// A private key of X25519, ready for use.
class DhKey {
 public:
  DhKey() = default;
  explicit DhKey(const Secret& secret);
  const PublicKey& public_key() const { return public_key_; }
  // Empty when the result is zero: the other's key is a point of small order.
  std::optional<Secret> agree(const PublicKey& other) const;
  explicit operator bool() const { return key_ != nullptr; }

 private:
  std::shared_ptr<EVP_PKEY> key_;
  PublicKey public_key_ = {};
};

// The two constructions. Both ends are told which one a pair uses; nothing on the wire negotiates it.
enum class Cipher : uint8_t { chacha20poly1305, aes256gcm };
std::string_view to_string(Cipher cipher);
Cipher parse_cipher(std::string_view text);

// One key of an AEAD in one direction; the key is set up once, a packet costs only the nonce.
class Aead {
 public:
  enum class Use { seal, open };
  Aead() = default;
  Aead(Cipher cipher, Use use, const Secret& key);

  // In place; the tag is written behind, or read from there. `counter` is the nonce as Noise has it:
  // little-endian for ChaCha20-Poly1305 (RFC 7539 with 32 zero bits in front), big-endian for AES-GCM.
  void seal(uint64_t counter, uint8_t* data, size_t size, ByteView additional = {});
  bool open(uint64_t counter, uint8_t* data, size_t size, ByteView additional = {});  // false: not authentic

 private:
  void set_nonce(uint64_t counter);

  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  std::unique_ptr<EVP_CIPHER_CTX, Free> context_;
  Cipher cipher_ = Cipher::chacha20poly1305;
};

// draft-irtf-cfrg-xchacha; for cookies. HChaCha20 is taken from OpenSSL's ChaCha20 block.
using LongNonce = std::array<uint8_t, 24>;
Secret hchacha20(const Secret& key, std::span<const uint8_t, 16> input);
void xchacha_seal(const Secret& key, const LongNonce& nonce, uint8_t* data, size_t size, ByteView additional);
bool xchacha_open(const Secret& key, const LongNonce& nonce, uint8_t* data, size_t size, ByteView additional);

// Numbers in messages are little-endian.
uint32_t load32(const uint8_t* bytes);
uint64_t load64(const uint8_t* bytes);
void store32(uint8_t* bytes, uint32_t value);
void store64(uint8_t* bytes, uint64_t value);

}  // namespace rayctl::wg
