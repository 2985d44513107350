// Many machines' keys in one tag: a call that boots fifty machines can give them only the same tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::cloud {

inline constexpr size_t longest_tag = 256;  // characters of a tag's value

// "a-7", "a-8", "a-9", "a-12" -> "a-{7..9,12}", as shells write it; the order is kept.
// A key has no braces, no commas and no "..".
std::string pack_keys(const std::vector<std::string>& keys);
std::vector<std::string> unpack_keys(
    std::string_view text);  // at most 1000; empty for text that pack_keys doesn't make

}  // namespace rayctl::cloud
