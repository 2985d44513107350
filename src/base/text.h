// Numbers, times and words as people read and write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl {

std::string human_size(uint64_t bytes);                  // "1.50 GB" (powers of 1000, as docker prints)
std::string human_duration(std::chrono::nanoseconds d);  // "0.42s", "1m 12s", "2h 05m"
std::string printable(
    std::string_view text);  // control characters escaped: remote text never drives the terminal

uint64_t parse_size(
    std::string_view text);  // "512M", "4GiB", "100" -> bytes, powers of 1024 (as docker reads)
std::chrono::seconds parse_duration(std::string_view text);  // "90s", "10m", "1h30m", "90"

bool all_digits(std::string_view text);                                 // 0 to 9, at least one
std::vector<std::string> split(std::string_view text, char separator);  // "a,,b" -> "a", "", "b"
std::string_view trim(std::string_view text);                           // ASCII white space at both ends
// The candidate with the fewest edits from `word`; empty when none is near enough to suggest.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace rayctl
