#include "base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace rayctl {

std::string human_size(uint64_t bytes) {
  static constexpr const char* units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 999.5 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", bytes);
  int decimals = value < 9.95 ? 2 : value < 99.5 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, units[unit]);
}

std::string human_duration(std::chrono::nanoseconds d) {
  double seconds = std::chrono::duration<double>(d).count();
  if (seconds < 60) return fmt::format("{:.{}f}s", seconds, seconds < 10 ? 2 : 1);
  auto whole = static_cast<int64_t>(seconds);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole / 60 % 60);
}

std::string printable(std::string_view text) {
  std::string shown;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f)
      shown += c;
    else if (c == '\t')
      shown += ' ';
    else
      shown += fmt::format("\\x{:02x}", byte);
  }
  return shown;
}

uint64_t parse_size(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  std::string suffix;
  for (char c : text.substr(digits)) suffix += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (digits == 0 || digits > 18)
    throw Error("cannot read '{}' as a size: write for example 512M or 4G", text);
  uint64_t value = std::stoull(std::string(text.substr(0, digits)));
  if (suffix.empty() || suffix == "b") return value;
  size_t power = std::string_view("kmgt").find(suffix[0]);
  std::string_view tail = std::string_view(suffix).substr(1);
  if (power == std::string_view::npos || !(tail.empty() || tail == "b" || tail == "i" || tail == "ib"))
    throw Error("cannot read '{}' as a size: the unit '{}' isn't one of B, K, M, G, T", text, suffix);
  unsigned shift = static_cast<unsigned>(power + 1) * 10;
  if (value > (UINT64_MAX >> shift)) throw Error("cannot read '{}' as a size: it is too large", text);
  return value << shift;
}

std::chrono::seconds parse_duration(std::string_view text) {
  auto fail = [&] {
    return Error("cannot read '{}' as a time: write for example 90s, 10m, 1h or 1h30m", text);
  };
  int64_t total = 0;
  std::string_view left = text;
  if (left.empty()) throw fail();
  while (!left.empty()) {
    size_t digits = 0;
    while (digits < left.size() && left[digits] >= '0' && left[digits] <= '9') ++digits;
    if (digits == 0 || digits > 9) throw fail();
    int64_t value = std::stoll(std::string(left.substr(0, digits)));
    left.remove_prefix(digits);
    char unit = left.empty() ? 's' : left.front();
    if (!left.empty()) left.remove_prefix(1);
    int64_t factor = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : unit == 'd' ? 86400 : 0;
    if (factor == 0) throw fail();
    total += value * factor;
  }
  return std::chrono::seconds(total);
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n\f\v";
  size_t first = text.find_first_not_of(blank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  size_t best_distance = (word.size() < 3 ? 1 : std::max<size_t>(2, word.size() / 3)) + 1;
  std::string best;
  for (const std::string& candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        size_t substituted = diagonal + (word[i - 1] != candidate[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace rayctl
