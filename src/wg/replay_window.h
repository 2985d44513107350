// Which counters of a session were received: RFC 6479, without shifting.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace rayctl::wg {

class ReplayWindow {
 public:
  // The 8,128 counters before the highest one may still come, each once.
  static constexpr uint64_t size = 8192 - 64;

  // Only for authentic packets. False: seen already, or too old.
  bool take(uint64_t counter) {
    if (counter > highest_) {
      uint64_t now = counter / 64, before = highest_ / 64;
      uint64_t fresh = now - before < words ? now - before : words;
      for (uint64_t i = 1; i <= fresh; ++i) bits_[(before + i) % words] = 0;
      highest_ = counter;
    } else if (highest_ - counter >= size) {
      return false;
    }
    uint64_t& word = bits_[counter / 64 % words];
    uint64_t bit = uint64_t{1} << (counter % 64);
    if (word & bit) return false;
    word |= bit;
    return true;
  }

 private:
  friend class DeviceState;
  static constexpr uint64_t words = 128;
  uint64_t highest_ = 0;
  std::array<uint64_t, words> bits_ = {};
};

}  // namespace rayctl::wg
