// A large blob over several connections at once: one alone rarely gets what a registry's network could give.
#pragma once

#include <cstdint>
#include <functional>

#include "base/io.h"

namespace rayctl::oci {

// Fetches bytes `first` … `first` + `size` - 1, whole. False when the server has no ranges; then some may
// have been taken. Called by several threads.
using FetchPiece = std::function<bool(uint64_t first, uint64_t size, const Sink& take)>;

struct PiecewisePlan {
  unsigned streams = 4;
  uint64_t piece = 8 << 20;  // bytes; streams + 1 pieces are in memory at most
};

// Passes the bytes from `at` to `end` on, in order and in the caller's thread. Returns how far it got: less
// than `end` when the server has no ranges. The first failure of a piece, in the order of the bytes, is
// thrown.
uint64_t fetch_piecewise(uint64_t at, uint64_t end, const PiecewisePlan& plan, const FetchPiece& fetch,
                         const Sink& take);

// How many connections a layer is worth, of so many bytes among `total` that are to be fetched: several when
// it is large and the others won't keep as many busy.
unsigned streams_for(uint64_t size, uint64_t total, unsigned parallel, const PiecewisePlan& plan);

// RAYCTL_PIECE_BYTES: for tests.
PiecewisePlan default_piecewise_plan();

}  // namespace rayctl::oci
