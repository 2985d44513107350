#include "net/wireguard_key.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/base64.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

WireguardKey read_key(const std::string& text, const std::string& path) {
  try {
    return parse_wireguard_key(trim(text));
  } catch (const Error& error) {
    throw Error("cannot read '{}': {} (remove it: a new key is made)", path, error.message());
  }
}

void write_key(const std::string& path, const WireguardKey& key) {
  replace_file(path, to_text(key) + "\n", 0600);
}

}  // namespace

WireguardKey make_private_key() {
  std::string bytes = random_bytes(32);
  WireguardKey key;
  std::copy(bytes.begin(), bytes.end(), key.begin());
  key[0] &= 248;  // RFC 7748, section 5
  key[31] = static_cast<uint8_t>((key[31] & 127) | 64);
  return key;
}

WireguardKey public_key(const WireguardKey& private_key) {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, private_key.data(), private_key.size()),
      EVP_PKEY_free);
  WireguardKey result;
  size_t size = result.size();
  if (!key || EVP_PKEY_get_raw_public_key(key.get(), result.data(), &size) != 1 || size != result.size())
    throw Error("cannot compute the public key of the overlay");
  return result;
}

std::string to_text(const WireguardKey& key) {
  return to_base64(std::string_view(reinterpret_cast<const char*>(key.data()), key.size()));
}

WireguardKey parse_wireguard_key(std::string_view text) {
  constexpr size_t text_size = 44;
  WireguardKey key = {};
  auto bytes = text.size() == text_size ? from_base64(text) : std::nullopt;
  // Bits of the last character that say nothing must be zero: a key has one text.
  if (bytes && bytes->size() == key.size()) {
    std::copy(bytes->begin(), bytes->end(), key.begin());
    if (to_text(key) == text) return key;
  }
  throw Error("not a WireGuard key: 32 bytes as 44 characters of base64");
}

KeyStore::KeyStore(std::string directory)
    : path_(join(directory, "overlay.key")), next_path_(join(directory, "overlay.key.next")) {
  if (auto text = read_file_if_exists(path_)) {
    current_ = read_key(*text, path_);
  } else {
    make_directories(directory, 0700);
    current_ = make_private_key();
    write_key(path_, current_);
  }
  if (auto text = read_file_if_exists(next_path_)) {
    next_ = read_key(*text, next_path_);
    has_next_ = true;
  }
}

WireguardKey KeyStore::announced() const {
  return public_key(has_next_ ? next_ : current_);
}

void KeyStore::rotate() {
  if (has_next_) return;
  next_ = make_private_key();
  write_key(next_path_, next_);
  has_next_ = true;
}

bool KeyStore::use(const WireguardKey& announced) {
  if (!has_next_ || public_key(next_) != announced) return false;
  check(rename(next_path_.c_str(), path_.c_str()), "cannot replace '{}'", path_);
  current_ = next_;
  has_next_ = false;
  next_ = {};
  return true;
}

}  // namespace rayctl::net
