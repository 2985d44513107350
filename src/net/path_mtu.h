// How large a packet may be on the way to each peer, found by asking: a network that drops large packets and
// says nothing of it would let connections begin and then stand still. What is found goes into the peer's
// route, from where TCP's segments are clamped and containers are told.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "net/overlay.h"

namespace rayctl::net {

// The sizes that are tried when the full one doesn't pass: below `mtu`, largest first.
std::vector<uint32_t> smaller_sizes(uint32_t mtu);

// Asks each peer through the overlay, by echoes that may not be fragmented. Per peer the largest size that is
// answered, at most `mtu`; empty for a peer that answers none, of which nothing can be said. Blocks for up to
// two seconds.
std::vector<std::optional<uint32_t>> find_path_mtus(const std::vector<Peer>& peers, uint32_t mtu);

// What was found, and who is asked next.
class PathMtus {
 public:
  // Those that are new come first, then the others in turn; at most `most`.
  std::vector<Peer> next(const std::vector<Peer>& peers, size_t most);
  // Of the answer to next(): lines for the log, empty when nothing is different now.
  std::vector<std::string> take(const std::vector<Peer>& asked,
                                const std::vector<std::optional<uint32_t>>& found, uint32_t mtu);
  void apply(std::vector<Peer>& peers) const;

 private:
  std::map<Subnet, uint32_t> narrow_;
  std::map<Subnet, uint64_t> asked_;  // at which turn
  uint64_t turn_ = 0;
};

}  // namespace rayctl::net
