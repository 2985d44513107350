#include "cloud/machine_keys.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::cloud {

namespace {

constexpr size_t most_keys = 1000;

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

// Of a number that has one spelling only: "007" isn't 7.
std::optional<uint64_t> number(std::string_view text) {
  if (text.empty() || text.size() > 18 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::string common_prefix(const std::vector<std::string>& keys) {
  std::string_view prefix = keys[0];
  for (const std::string& key : keys)
    prefix = prefix.substr(
        0, static_cast<size_t>(std::mismatch(prefix.begin(), prefix.end(), key.begin(), key.end()).first -
                               prefix.begin()));
  while (!prefix.empty() && is_digit(prefix.back())) prefix.remove_suffix(1);  // numbers stay whole
  return std::string(prefix);
}

}  // namespace

std::string pack_keys(const std::vector<std::string>& keys) {
  if (keys.size() == 1) return keys[0];
  if (keys.empty()) return "";
  std::string prefix = common_prefix(keys), list;
  auto rest = [&](size_t i) { return std::string_view(keys[i]).substr(prefix.size()); };
  for (size_t i = 0; i < keys.size();) {
    size_t end = i + 1;
    if (auto first = number(rest(i)))
      while (end < keys.size() && number(rest(end)) == *first + (end - i)) ++end;
    if (i > 0) list += ',';
    list += rest(i);
    if (end > i + 1) list += fmt::format("..{}", rest(end - 1));
    i = end;
  }
  return prefix + "{" + list + "}";
}

std::vector<std::string> unpack_keys(std::string_view text) {
  size_t brace = text.find('{');
  if (brace == std::string_view::npos)
    return text.empty() ? std::vector<std::string>{} : std::vector{std::string(text)};
  if (!text.ends_with('}')) return {};
  std::string prefix(text.substr(0, brace));
  std::vector<std::string> keys;
  for (const std::string& part : split(text.substr(brace + 1, text.size() - brace - 2), ',')) {
    size_t dots = part.find("..");
    auto first = number(std::string_view(part).substr(0, dots));
    auto last = dots == std::string::npos ? std::nullopt : number(std::string_view(part).substr(dots + 2));
    if (first && last && *first < *last) {
      if (*last - *first >= most_keys - keys.size()) return {};
      for (uint64_t n = *first; n <= *last; ++n) keys.push_back(fmt::format("{}{}", prefix, n));
    } else {
      keys.push_back(prefix + part);
    }
    if (keys.size() > most_keys) return {};
  }
  return keys;
}

}  // namespace rayctl::cloud
