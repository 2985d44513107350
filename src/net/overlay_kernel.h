// The overlay in the kernel: observed, and changed as a diff says.
#pragma once

#include <vector>

#include "net/netlink.h"
#include "net/overlay.h"

namespace rayctl::net {

// Where the overlay's packets leave, and how large they may be.
struct UnderlayFacts {
  int index = 0;     // of the link that carries the underlay address
  uint32_t mtu = 0;  // of the overlay: the least of the routes to the peers, less the VXLAN headers
};

// Throws when the underlay address is on no link.
UnderlayFacts find_underlay(Netlink& route, const Overlay& overlay);

OverlayState observe_overlay(Netlink& route, const Overlay& overlay);

// In order; throws with the first refusal, after which a new observation tells what is missing.
void apply_changes(Netlink& route, const Overlay& overlay, const std::vector<OverlayChange>& changes);

// Link and unreachable route; absent is fine.
void remove_overlay(Netlink& route, const Overlay& overlay);

}  // namespace rayctl::net
