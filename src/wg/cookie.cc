#include "wg/cookie.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace rayctl::wg {

namespace {

using namespace std::chrono_literals;

constexpr Time secret_life = 120s;
constexpr Time cookie_life = secret_life - 5s;  // what is on its way is accepted still
constexpr size_t mac_size = 16;

constexpr Time token_price = 50ms;
constexpr Time token_limit = token_price * 5;
constexpr size_t bucket_limit = 65536;  // further sources are refused: under load, with nothing known of them

Hash label(std::string_view text, const PublicKey& key) {
  return blake2s({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, key);
}

ByteView mac1_of(ByteView message) {
  return message.subspan(message.size() - 2 * mac_size, mac_size);
}

Mac expected_mac1(const Hash& key, ByteView message) {
  return keyed_blake2s(key, message.first(message.size() - 2 * mac_size));
}

}  // namespace

CookieChecker::CookieChecker(const PublicKey& own)
    : mac1_key_(label("mac1----", own)), cookie_key_(label("cookie--", own)) {}

bool CookieChecker::mac1_fits(ByteView message) const {
  return equal(mac1_of(message), expected_mac1(mac1_key_, message));
}

Mac CookieChecker::cookie_for(ByteView source, Time now) {
  if (!secret_made_ || now - *secret_made_ >= secret_life) {
    fill_random(secret_.bytes);
    secret_made_ = now;
  }
  return keyed_blake2s(secret_.bytes, source);
}

bool CookieChecker::mac2_fits(ByteView message, ByteView source, Time now) {
  if (!secret_made_ || now - *secret_made_ >= secret_life) return false;  // nobody has a cookie of ours
  Mac cookie = cookie_for(source, now);
  return equal(message.last(mac_size), keyed_blake2s(cookie, message.first(message.size() - mac_size)));
}

CookieReply CookieChecker::reply(ByteView message, ByteView source, Time now) {
  CookieReply reply = {};
  store32(reply.data(), static_cast<uint32_t>(MessageType::cookie));
  std::memcpy(&reply[4], &message[4], 4);  // the sender's index
  LongNonce nonce;
  fill_random(nonce);
  std::copy(nonce.begin(), nonce.end(), &reply[8]);
  Mac cookie = cookie_for(source, now);
  std::copy(cookie.begin(), cookie.end(), &reply[32]);
  Secret key;
  key.bytes = cookie_key_;
  xchacha_seal(key, nonce, &reply[32], cookie.size(), mac1_of(message));
  return reply;
}

CookieMaker::CookieMaker(const PublicKey& remote)
    : mac1_key_(label("mac1----", remote)), cookie_key_(label("cookie--", remote)) {}

void CookieMaker::add_macs(std::span<uint8_t> message, Time now) {
  Mac mac1 = expected_mac1(mac1_key_, message);
  std::copy(mac1.begin(), mac1.end(), message.end() - 2 * mac_size);
  last_mac1_ = mac1;
  if (!cookie_made_ || now - *cookie_made_ >= cookie_life) return;
  Mac mac2 = keyed_blake2s(cookie_, message.first(message.size() - mac_size));
  std::copy(mac2.begin(), mac2.end(), message.end() - mac_size);
}

bool CookieMaker::consume(const CookieReply& reply, Time now) {
  if (!last_mac1_) return false;
  LongNonce nonce;
  std::copy_n(&reply[8], nonce.size(), nonce.begin());
  std::array<uint8_t, mac_size + tag_size> sealed;
  std::copy_n(&reply[32], sealed.size(), sealed.begin());
  Secret key;
  key.bytes = cookie_key_;
  if (!xchacha_open(key, nonce, sealed.data(), mac_size, *last_mac1_)) return false;
  std::copy_n(sealed.begin(), mac_size, cookie_.begin());
  cookie_made_ = now;
  last_mac1_.reset();  // one message, one cookie
  return true;
}

bool SourceLimiter::allow(ByteView address, Time now) {
  if (now - swept_ > 1s) {
    std::erase_if(buckets_, [&](const auto& entry) { return now - entry.second.updated > 1s; });
    swept_ = now;
  }
  uint64_t key = 0;
  std::memcpy(&key, address.data(), std::min<size_t>(address.size(), 8));
  if (address.size() == 4) key |= uint64_t{0xffffffff} << 32;  // no /64 in use begins so: multicast
  auto found = buckets_.find(key);
  if (found == buckets_.end()) {
    if (buckets_.size() >= bucket_limit) return false;
    buckets_.emplace(key, Bucket{now, token_limit - token_price});
    return true;
  }
  Bucket& bucket = found->second;
  bucket.tokens = std::min(token_limit, bucket.tokens + (now - bucket.updated));
  bucket.updated = now;
  if (bucket.tokens < token_price) return false;
  bucket.tokens -= token_price;
  return true;
}

}  // namespace rayctl::wg
