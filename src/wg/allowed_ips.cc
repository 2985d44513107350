#include "wg/allowed_ips.h"

#include <algorithm>

namespace rayctl::wg {

namespace {

int bit(const uint8_t* address, int index) {
  return address[index / 8] >> (7 - index % 8) & 1;
}

// How many leading bits are the same, at most `limit`.
int common(const uint8_t* a, const uint8_t* b, int limit) {
  for (int i = 0; i * 8 < limit; ++i)
    if (uint8_t different = a[i] ^ b[i]) return std::min(limit, i * 8 + __builtin_clz(different) - 24);
  return limit;
}

}  // namespace

int AllowedIps::add(const net::Subnet& subnet, int peer) {
  Node node;
  node.prefix = subnet.base.bytes;
  node.length = subnet.length;
  node.peer = peer;
  nodes_.push_back(node);
  return static_cast<int>(nodes_.size()) - 1;
}

void AllowedIps::insert(const net::Subnet& subnet, int peer) {
  const uint8_t* base = subnet.base.bytes.data();
  // Where the link to the current node is kept: an index, since nodes_ moves when it grows.
  int parent = none, side = subnet.base.is_v4() ? 0 : 1;
  auto link = [&]() -> int& {
    return parent == none ? roots_[static_cast<size_t>(side)]
                          : nodes_[static_cast<size_t>(parent)].child[static_cast<size_t>(side)];
  };
  for (;;) {
    int at = link();
    if (at == none) {
      int added = add(subnet, peer);
      link() = added;
      return;
    }
    const Node& here = nodes_[static_cast<size_t>(at)];
    int shared = common(base, here.prefix.data(), std::min(subnet.length, here.length));
    if (shared == here.length && shared == subnet.length) {
      nodes_[static_cast<size_t>(at)].peer = peer;
      return;
    }
    if (shared == here.length) {
      parent = at;
      side = bit(base, shared);
      continue;
    }
    // The paths part within this edge: the subnet itself or a fork goes in between.
    int below = bit(here.prefix.data(), shared);
    int middle = shared == subnet.length ? add(subnet, peer)
                                         : add({net::subnet_of(subnet.base, shared).base, shared}, none);
    link() = middle;
    nodes_[static_cast<size_t>(middle)].child[static_cast<size_t>(below)] = at;
    if (shared < subnet.length) {
      int leaf = add(subnet, peer);
      nodes_[static_cast<size_t>(middle)].child[static_cast<size_t>(1 - below)] = leaf;
    }
    return;
  }
}

int AllowedIps::find(int node, const uint8_t* address, int bits) const {
  int best = none;
  while (node != none) {
    const Node& here = nodes_[static_cast<size_t>(node)];
    if (common(address, here.prefix.data(), here.length) < here.length) break;
    if (here.peer != none) best = here.peer;
    if (here.length == bits) break;
    node = here.child[static_cast<size_t>(bit(address, here.length))];
  }
  return best;
}

}  // namespace rayctl::wg
