// Longest-prefix match from addresses to peers, for both directions of a tunnel.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "net/address.h"

namespace rayctl::wg {

// A binary trie with compressed paths, per family. Built once per table, then only asked.
class AllowedIps {
 public:
  static constexpr int none = -1;

  // `peer` >= 0; a subnet that is there already changes its owner.
  void insert(const net::Subnet& subnet, int peer);

  // `address`: 4 or 16 bytes in network order.
  int find_v4(const uint8_t* address) const { return find(roots_[0], address, 32); }
  int find_v6(const uint8_t* address) const { return find(roots_[1], address, 128); }

 private:
  struct Node {
    std::array<uint8_t, 16> prefix = {};
    int length = 0;
    int peer = none;
    std::array<int, 2> child = {none, none};
  };
  int add(const net::Subnet& subnet, int peer);
  int find(int node, const uint8_t* address, int bits) const;

  std::vector<Node> nodes_;
  std::array<int, 2> roots_ = {none, none};
};

}  // namespace rayctl::wg
