// What the tests of src/wg share: the vectors of tests/golden/wg, fixed keys, hexadecimal.
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "base/encoding.h"
#include "base/file.h"
#include "base/text.h"
#include "wg/noise.h"

namespace rayctl::wg {

using Raw = std::vector<uint8_t>;

inline Raw from_hex(std::string_view text) {
  Raw bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  return bytes;
}

inline std::string to_hex(ByteView bytes) {
  return hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

inline Raw raw(std::string_view text) {
  return {text.begin(), text.end()};
}

inline const Raw& vector_of(const std::string& name) {
  static const std::map<std::string, Raw> all = [] {
    std::map<std::string, Raw> vectors;
    for (const std::string& line : split(read_file("tests/golden/wg/vectors.txt"), '\n'))
      if (size_t space = line.find(' '); space != std::string::npos)
        vectors[line.substr(0, space)] = from_hex(std::string_view(line).substr(space + 1));
    return vectors;
  }();
  return all.at(name);
}

template <size_t N>
std::array<uint8_t, N> array_of(ByteView bytes) {
  REQUIRE(bytes.size() >= N);
  std::array<uint8_t, N> copy;
  std::copy_n(bytes.begin(), N, copy.begin());
  return copy;
}

// The private keys of vectors.py.
inline Secret fixed_secret(std::string_view seed) {
  std::string digest = sha256(seed);
  Secret secret;
  std::copy(digest.begin(), digest.end(), secret.bytes.begin());
  return secret;
}

}  // namespace rayctl::wg
