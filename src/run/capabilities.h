// Capability names and sets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::run {

std::optional<int> capability_number(std::string_view name);  // "CAP_CHOWN" or "CHOWN", any case
std::string capability_name(int number);                      // "CAP_CHOWN"
std::vector<std::string> capability_names(uint64_t set);
std::vector<std::string> known_capabilities();

uint64_t default_capabilities();  // docker's fourteen
uint64_t own_bounding_set();      // what this process may give away

}  // namespace rayctl::run
