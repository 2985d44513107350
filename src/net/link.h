// Network links by rtnetlink: bridges, veth pairs, VXLAN ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/netlink.h"
#include "net/overlay.h"

namespace rayctl::net {

// A link as the kernel has it.
struct Link {
  int index = 0;
  std::string name = {};
  std::string kind = {};  // "bridge", "veth", "vxlan"; "" for hardware
  Mac mac = {};
  uint32_t mtu = 0;
  bool up = false;
  bool loopback = false;
  int master = 0;                       // the bridge that it is a port of; 0 = none
  bool isolated = false;                // of a bridge's port
  bool hairpin = false;                 // of a bridge's port: gets back what it sent
  std::optional<VxlanLink> vxlan = {};  // of kind "vxlan"
};

std::optional<Link> find_link(Netlink& netlink, const std::string& name);
Link require_link(Netlink& netlink, const std::string& name);  // throws when it isn't there
std::vector<Link> list_links(Netlink& netlink);
Link parse_link(const Answer& answer);  // RTM_NEWLINK; a message that is too short gives index 0

// Making what exists is an error (EEXIST): callers look first.
void create_bridge(Netlink& netlink, const std::string& name, const Mac& mac, uint32_t mtu);
void create_vxlan(Netlink& netlink, const VxlanLink& wanted);
void create_wireguard(Netlink& netlink, const TunnelLink& wanted);  // down, without a key

// A pair whose far end appears straight inside the namespace `netns`, with its final name and MAC.
struct VethPair {
  std::string name, peer_name;
  Mac mac, peer_mac;
  uint32_t mtu = 1500;
  int netns = -1;
};
void create_veth(Netlink& netlink, const VethPair& pair);

// What is set; the rest stays.
struct LinkSettings {
  std::optional<uint32_t> mtu = {};
  std::optional<Mac> mac = {};
  std::optional<int> master = {};     // index of the bridge; 0 releases it
  std::optional<bool> isolated = {};  // a port that sees the bridge, and no other isolated port
  std::optional<bool> hairpin = {};
  std::optional<bool> up = {};
};
void set_link(Netlink& netlink, int index, const std::string& name, const LinkSettings& settings);

bool delete_link(Netlink& netlink, const std::string& name);  // false when there was none

}  // namespace rayctl::net
