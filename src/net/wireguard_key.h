// The keys of a node's end of the encrypted overlay: made on the node, kept in a file, never sent anywhere.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace rayctl::net {

using WireguardKey = std::array<uint8_t, 32>;  // of X25519 (RFC 7748)

WireguardKey make_private_key();
WireguardKey public_key(const WireguardKey& private_key);

// The 44 characters of base64 that WireGuard's tools show.
std::string to_text(const WireguardKey& key);
WireguardKey parse_wireguard_key(
    std::string_view text);  // the error doesn't repeat the text: it may be secret

// The private keys of a node in a directory: `overlay.key`, and `overlay.key.next` while it is being
// replaced. Files are 0600.
class KeyStore {
 public:
  explicit KeyStore(std::string directory);  // makes the first key

  const WireguardKey& current() const { return current_; }
  WireguardKey announced() const;  // the public key that others are to use: the next one's, if there is one

  // Makes the next key; announced() is its public key from now on. One that waits already is kept.
  void rotate();
  // What everyone uses now, by the cluster's word: the next key becomes the current one when it is that.
  // Returns whether it did.
  bool use(const WireguardKey& announced);

 private:
  std::string path_, next_path_;
  WireguardKey current_ = {};
  bool has_next_ = false;
  WireguardKey next_ = {};
};

}  // namespace rayctl::net
