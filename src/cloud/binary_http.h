// The little of HTTP by which a machine fetches rayctl: from the head's control port, or from Local's host.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rayctl::cloud {

constexpr size_t longest_binary_request = 8 << 10;

// The whole head of a request has come.
bool binary_request_complete(std::string_view request);

struct BinaryAnswer {
  std::string head;   // up to and with the empty line
  bool body = false;  // the binary follows
};
// `GET /rayctl` and `HEAD /rayctl` are answered with a file of `size` bytes, everything else with 404.
BinaryAnswer answer_binary_request(std::string_view request, uint64_t size);

}  // namespace rayctl::cloud
