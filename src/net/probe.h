// ICMP echoes to many addresses at once: who answers, how soon, and with packets of which size.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"

namespace rayctl::net {

struct ProbeTarget {
  Address address;
  size_t size = 84;  // of the IP packet, at least 40 (IPv6: 60); it isn't fragmented
};

struct ProbeAnswer {
  std::optional<std::chrono::microseconds> time = {};  // empty: no answer
  std::string error = {};                              // what the kernel said at sending: "Message too long"
};

// Blocks for at most `limit`; each is asked up to three times within it. Needs CAP_NET_RAW.
std::vector<ProbeAnswer> probe(const std::vector<ProbeTarget>& targets, std::chrono::milliseconds limit);

}  // namespace rayctl::net
