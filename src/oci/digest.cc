#include "oci/digest.h"

#include <openssl/evp.h>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

struct Name {
  std::string_view name;
  Algorithm algorithm;
  size_t hex_digits;
};

constexpr Name names[] = {{"sha256", Algorithm::sha256, 64}, {"sha512", Algorithm::sha512, 128}};

bool is_lower_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

const Name* find_name(std::string_view text) {
  size_t colon = text.find(':');
  if (colon == std::string_view::npos) return nullptr;
  for (const Name& n : names)
    if (text.substr(0, colon) == n.name && text.size() - colon - 1 == n.hex_digits &&
        is_lower_hex(text.substr(colon + 1)))
      return &n;
  return nullptr;
}

std::string to_hex(const unsigned char* bytes, size_t count) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(count * 2);
  for (size_t i = 0; i < count; ++i) {
    hex += digits[bytes[i] >> 4];
    hex += digits[bytes[i] & 15];
  }
  return hex;
}

}  // namespace

Digest Digest::parse(std::string_view text) {
  const Name* name = find_name(text);
  if (!name)
    throw Error(
        "cannot parse '{}' as a digest: expected sha256: and 64, or sha512: and 128 lower-case hex digits",
        printable(text.substr(0, 160)));
  return {name->algorithm, std::string(text.substr(name->name.size() + 1))};
}

bool Digest::is_digest(std::string_view text) {
  return find_name(text) != nullptr;
}

Digest Digest::of(Bytes bytes, Algorithm algorithm) {
  Hasher hasher(algorithm);
  hasher.add(bytes);
  return hasher.finish();
}

std::string_view Digest::algorithm_name() const {
  return names[static_cast<size_t>(algorithm_)].name;
}

std::string Digest::string() const {
  return hex_.empty() ? "" : fmt::format("{}:{}", algorithm_name(), hex_);
}

std::string Digest::path() const {
  return fmt::format("{}/{}", algorithm_name(), hex_);
}

struct Hasher::Context {
  std::unique_ptr<EVP_MD_CTX, decltype([](EVP_MD_CTX* c) { EVP_MD_CTX_free(c); })> evp{EVP_MD_CTX_new()};
};

Hasher::Hasher(Algorithm algorithm) : algorithm_(algorithm), context_(std::make_unique<Context>()) {
  const EVP_MD* type = algorithm == Algorithm::sha256 ? EVP_sha256() : EVP_sha512();
  if (!context_->evp || EVP_DigestInit_ex(context_->evp.get(), type, nullptr) != 1)
    throw Error("cannot compute a digest: OpenSSL has no {}", names[static_cast<size_t>(algorithm)].name);
}

Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

void Hasher::add(Bytes bytes) {
  if (EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()) != 1)
    throw Error("cannot compute a digest: OpenSSL failed");
}

Digest Hasher::finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int count = 0;
  if (EVP_DigestFinal_ex(context_->evp.get(), bytes, &count) != 1)
    throw Error("cannot compute a digest: OpenSSL failed");
  return {algorithm_, to_hex(bytes, count)};
}

Digest chain_id(const Digest& parent_chain, const Digest& diff_id) {
  if (!parent_chain) return diff_id;
  return Digest::of(parent_chain.string() + " " + diff_id.string());
}

}  // namespace rayctl::oci
