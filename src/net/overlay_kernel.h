// The overlay in the kernel: observed, and changed as a diff says.
#pragma once

#include <vector>

#include "net/netlink.h"
#include "net/overlay.h"

namespace rayctl::net {

// Where the overlay's packets leave, and how large they may be.
struct UnderlayFacts {
  int index = 0;     // of the link that carries the underlay address
  uint32_t mtu = 0;  // of the overlay: the least of the routes to the peers, less the headers
};

// VXLAN: throws when the underlay address is on no link.
UnderlayFacts find_underlay(Netlink& route, const Overlay& overlay);

// The route that keeps the pool's traffic in, whatever else is wrong.
void keep_unreachable(Netlink& route, const Subnet& pool, std::vector<std::string>& changes);

OverlayState observe_overlay(Netlink& route, const Overlay& overlay);

// In order; throws with the first refusal, after which a new observation tells what is missing.
void apply_changes(Netlink& route, const Overlay& overlay, const std::vector<OverlayChange>& changes);

// The links of every mode; absent is fine.
void remove_overlay_links(Netlink& route, const Overlay& overlay);
// Those and the unreachable route.
void remove_overlay(Netlink& route, const Overlay& overlay);

}  // namespace rayctl::net
