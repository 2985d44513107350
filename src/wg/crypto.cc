#include "wg/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "base/base64.h"
#include "base/error.h"
#include "base/text.h"

namespace rayctl::wg {

namespace {

[[noreturn]] void refuse(const char* what) {
  throw Error("cannot {}: OpenSSL refuses", what);
}

void require(int result, const char* what) {
  if (result != 1) refuse(what);
}

// Fetched once: a look-up by name costs more than a packet.
const EVP_CIPHER* fetched(const char* name) {
  EVP_CIPHER* cipher = EVP_CIPHER_fetch(nullptr, name, nullptr);
  if (!cipher) throw Error("cannot encrypt: OpenSSL has no {}", name);
  return cipher;
}

const EVP_CIPHER* implementation(Cipher cipher) {
  if (cipher == Cipher::aes256gcm) {
    static const EVP_CIPHER* aes = fetched("AES-256-GCM");
    return aes;
  }
  static const EVP_CIPHER* chacha = fetched("ChaCha20-Poly1305");
  return chacha;
}

std::array<uint8_t, 32> parse_key(std::string_view text, std::string_view what) {
  auto bytes = from_base64(text);
  if (!bytes || bytes->size() != 32)
    throw Error("cannot use the {}: it is not 32 bytes in base64 (44 characters)", what);
  std::array<uint8_t, 32> key;
  std::memcpy(key.data(), bytes->data(), key.size());
  wipe(bytes->data(), bytes->size());
  return key;
}

}  // namespace

void wipe(void* data, size_t size) {
  OPENSSL_cleanse(data, size);
}

std::string key_text(ByteView key) {
  return to_base64({reinterpret_cast<const char*>(key.data()), key.size()});
}

PublicKey parse_public_key(std::string_view text, std::string_view what) {
  return parse_key(text, what);
}

Secret parse_secret(std::string_view text, std::string_view what) {
  Secret secret;
  secret.bytes = parse_key(text, what);
  return secret;
}

void fill_random(std::span<uint8_t> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t got = getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    done += static_cast<size_t>(check(got, "cannot read random bytes"));
  }
}

Secret new_private_key() {
  Secret key;
  fill_random(key.bytes);
  key.bytes[0] &= 248;
  key.bytes[31] = static_cast<uint8_t>((key.bytes[31] & 127) | 64);
  return key;
}

bool equal(ByteView a, ByteView b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Hash blake2s(ByteView a, ByteView b) {
  static const EVP_MD* digest = EVP_MD_fetch(nullptr, "BLAKE2S-256", nullptr);
  static thread_local std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                                      EVP_MD_CTX_free);
  Hash hash;
  require(EVP_DigestInit_ex2(context.get(), digest, nullptr), "hash");
  require(EVP_DigestUpdate(context.get(), a.data(), a.size()), "hash");
  require(EVP_DigestUpdate(context.get(), b.data(), b.size()), "hash");
  require(EVP_DigestFinal_ex(context.get(), hash.data(), nullptr), "hash");
  return hash;
}

Mac keyed_blake2s(ByteView key, ByteView data) {
  static EVP_MAC* algorithm = EVP_MAC_fetch(nullptr, "BLAKE2SMAC", nullptr);
  static thread_local std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(
      EVP_MAC_CTX_new(algorithm), EVP_MAC_CTX_free);
  Mac mac;
  size_t size = mac.size(), written = 0;
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                             OSSL_PARAM_construct_end()};
  require(EVP_MAC_init(context.get(), key.data(), key.size(), parameters), "compute a MAC");
  require(EVP_MAC_update(context.get(), data.data(), data.size()), "compute a MAC");
  require(EVP_MAC_final(context.get(), mac.data(), &written, mac.size()), "compute a MAC");
  return mac;
}

void derive(const Secret& key, ByteView input, Secret* first, Secret* second, Secret* third) {
  static const EVP_MD* digest = EVP_MD_fetch(nullptr, "BLAKE2S-256", nullptr);
  auto hmac = [](const Secret& with, ByteView data) {
    Secret out;
    if (!HMAC(digest, with.bytes.data(), static_cast<int>(with.bytes.size()), data.data(), data.size(),
              out.bytes.data(), nullptr))
      refuse("derive a key");
    return out;
  };
  Secret root = hmac(key, input);
  SecretBytes<33> block;  // the output before, then its number
  uint8_t number = 0;
  for (Secret* wanted : {first, second, third}) {
    if (!wanted) break;
    ByteView data(block.bytes.data() + (number == 0 ? 32 : 0), number == 0 ? 1 : 33);
    block.bytes[32] = ++number;
    *wanted = hmac(root, data);
    std::copy(wanted->bytes.begin(), wanted->bytes.end(), block.bytes.begin());
  }
}

DhKey::DhKey(const Secret& secret)
    : key_(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.bytes.data(), secret.bytes.size()),
           EVP_PKEY_free) {
  size_t size = public_key_.size();
  if (!key_ || EVP_PKEY_get_raw_public_key(key_.get(), public_key_.data(), &size) != 1)
    refuse("use a private key");
}

std::optional<Secret> DhKey::agree(const PublicKey& other) const {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> peer(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, other.data(), other.size()), EVP_PKEY_free);
  std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(key_.get(), nullptr),
                                                                      EVP_PKEY_CTX_free);
  Secret shared;
  size_t size = shared.bytes.size();
  if (!peer || !context || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), peer.get()) != 1)
    return std::nullopt;
  // OpenSSL itself refuses a result of zeros.
  if (EVP_PKEY_derive(context.get(), shared.bytes.data(), &size) != 1 || shared == Secret{})
    return std::nullopt;
  return shared;
}

std::string_view to_string(Cipher cipher) {
  return cipher == Cipher::aes256gcm ? "aes256gcm" : "chacha20poly1305";
}

Cipher parse_cipher(std::string_view text) {
  if (text == "chacha20poly1305") return Cipher::chacha20poly1305;
  if (text == "aes256gcm") return Cipher::aes256gcm;
  throw Error("cannot use cipher '{}': there are chacha20poly1305 and aes256gcm", printable(text));
}

Aead::Aead(Cipher cipher, Use use, const Secret& key) : context_(EVP_CIPHER_CTX_new()), cipher_(cipher) {
  if (!context_) refuse("encrypt");
  require(EVP_CipherInit_ex2(context_.get(), implementation(cipher), key.bytes.data(), nullptr,
                             use == Use::seal ? 1 : 0, nullptr),
          "set a key");
}

void Aead::set_nonce(uint64_t counter) {
  std::array<uint8_t, 12> nonce = {};
  store64(nonce.data() + 4, cipher_ == Cipher::aes256gcm ? __builtin_bswap64(counter) : counter);
  require(EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), -1, nullptr), "set a nonce");
}

void Aead::seal(uint64_t counter, uint8_t* data, size_t size, ByteView additional) {
  set_nonce(counter);
  int n = 0;
  if (!additional.empty())
    require(EVP_EncryptUpdate(context_.get(), nullptr, &n, additional.data(),
                              static_cast<int>(additional.size())),
            "encrypt");
  if (size > 0) require(EVP_EncryptUpdate(context_.get(), data, &n, data, static_cast<int>(size)), "encrypt");
  require(EVP_EncryptFinal_ex(context_.get(), data + size, &n), "encrypt");
  require(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, tag_size, data + size), "encrypt");
}

bool Aead::open(uint64_t counter, uint8_t* data, size_t size, ByteView additional) {
  set_nonce(counter);
  int n = 0;
  if (EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, tag_size, data + size) != 1) return false;
  if (!additional.empty() && EVP_DecryptUpdate(context_.get(), nullptr, &n, additional.data(),
                                               static_cast<int>(additional.size())) != 1)
    return false;
  if (size > 0 && EVP_DecryptUpdate(context_.get(), data, &n, data, static_cast<int>(size)) != 1)
    return false;
  return EVP_DecryptFinal_ex(context_.get(), data + size, &n) == 1;
}

// A block of ChaCha20 is the state after 20 rounds plus the state before; HChaCha20 is the first and last row
// of the former. Before, the first row is the constant "expand 32-byte k" and the last one the input.
Secret hchacha20(const Secret& key, std::span<const uint8_t, 16> input) {
  static const EVP_CIPHER* chacha = fetched("ChaCha20");
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(),
                                                                          EVP_CIPHER_CTX_free);
  SecretBytes<64> block;
  int n = 0;
  require(EVP_EncryptInit_ex2(context.get(), chacha, key.bytes.data(), input.data(), nullptr),
          "derive a key");
  require(EVP_EncryptUpdate(context.get(), block.bytes.data(), &n, block.bytes.data(), 64), "derive a key");
  constexpr uint8_t constant[] = "expand 32-byte k";
  Secret out;
  for (size_t i = 0; i < 4; ++i) {
    store32(&out.bytes[i * 4], load32(&block.bytes[i * 4]) - load32(constant + i * 4));
    store32(&out.bytes[16 + i * 4], load32(&block.bytes[48 + i * 4]) - load32(input.data() + i * 4));
  }
  return out;
}

namespace {

Aead extended(const Secret& key, const LongNonce& nonce, Aead::Use use) {
  return Aead(Cipher::chacha20poly1305, use, hchacha20(key, std::span<const uint8_t, 16>(nonce.data(), 16)));
}

}  // namespace

void xchacha_seal(const Secret& key, const LongNonce& nonce, uint8_t* data, size_t size,
                  ByteView additional) {
  extended(key, nonce, Aead::Use::seal).seal(load64(nonce.data() + 16), data, size, additional);
}

bool xchacha_open(const Secret& key, const LongNonce& nonce, uint8_t* data, size_t size,
                  ByteView additional) {
  return extended(key, nonce, Aead::Use::open).open(load64(nonce.data() + 16), data, size, additional);
}

uint32_t load32(const uint8_t* bytes) {
  return static_cast<uint32_t>(bytes[0]) | static_cast<uint32_t>(bytes[1]) << 8 |
         static_cast<uint32_t>(bytes[2]) << 16 | static_cast<uint32_t>(bytes[3]) << 24;
}

uint64_t load64(const uint8_t* bytes) {
  return load32(bytes) | static_cast<uint64_t>(load32(bytes + 4)) << 32;
}

void store32(uint8_t* bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
}

void store64(uint8_t* bytes, uint64_t value) {
  store32(bytes, static_cast<uint32_t>(value));
  store32(bytes + 4, static_cast<uint32_t>(value >> 32));
}

}  // namespace rayctl::wg
