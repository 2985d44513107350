// Content digests: `algorithm:hex`, validated before one becomes part of a path or a URL (CVE-2024-3727).
#pragma once

#include <compare>
#include <memory>
#include <string>
#include <string_view>

#include "base/io.h"

namespace rayctl::oci {

enum class Algorithm { sha256, sha512 };

// A valid digest, or none (default-constructed).
class Digest {
 public:
  Digest() = default;
  static Digest parse(std::string_view text);  // "sha256:" + 64 or "sha512:" + 128 lower-case hex digits
  static bool is_digest(std::string_view text);
  static Digest of(Bytes bytes, Algorithm algorithm = Algorithm::sha256);
  static Digest of(std::string_view text) { return of(as_bytes(text)); }

  explicit operator bool() const { return !hex_.empty(); }
  Algorithm algorithm() const { return algorithm_; }
  std::string_view algorithm_name() const;
  const std::string& hex() const { return hex_; }
  std::string short_hex() const { return hex_.substr(0, 12); }  // as docker shows ids
  std::string string() const;                                   // "sha256:…"; empty when there is none
  std::string path() const;  // "sha256/…": below blobs/ of an image layout

  auto operator<=>(const Digest&) const = default;

 private:
  friend class Hasher;
  Digest(Algorithm algorithm, std::string hex) : algorithm_(algorithm), hex_(std::move(hex)) {}
  Algorithm algorithm_ = Algorithm::sha256;
  std::string hex_;
};

// Computes a digest over a stream.
class Hasher {
 public:
  explicit Hasher(Algorithm algorithm = Algorithm::sha256);
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();
  void add(Bytes bytes);
  void add(std::string_view text) { add(as_bytes(text)); }
  Digest finish();  // once

 private:
  struct Context;
  Algorithm algorithm_;
  std::unique_ptr<Context> context_;
};

// The id of a stack of layers (image-spec, config.md, "Layer ChainID"): of one layer its diff id.
Digest chain_id(const Digest& parent_chain, const Digest& diff_id);  // no parent: an empty Digest

}  // namespace rayctl::oci
