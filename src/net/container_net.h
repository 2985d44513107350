// A container's place in the network: its namespace, its link to the bridge, and the files that name it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/netns.h"

namespace rayctl::net {

// One container's link; the same values after a restart or reboot, as Ray knows a node by its address.
enum class Metadata { blocked, allowed };  // the cloud's metadata service, from containers

struct Attachment {
  std::string container;  // id: the host's end of the link is named after it
  std::string netns;      // path of the namespace, e.g. Netns::create(run_dir, id).path()
  Address address;
  Address gateway = {};
  Mac mac = {};
  uint32_t mtu = 1450;
  std::string bridge = "rayctl0";
  bool operator==(const Attachment&) const = default;
};

// The attachment of the container in `slot` of the node's subnet (see address_plan.h).
Attachment attachment(const std::string& container, const std::string& netns, const Subnet& node,
                      uint32_t slot, uint32_t mtu, const std::string& bridge = "rayctl0");

std::string host_link_name(const std::string& container);  // "rc" + 12 characters of the id

// How a container's link stands on the bridge. isolated: it sees the bridge and no other container.
// reflecting: where the kernel calls the IP rules for frames between a bridge's ports
// (bridge-nf-call-iptables: Docker, Kubernetes), it also bridges what was sent to a published port of this
// node and leads to a container of it: then a port must take frames from the others, and from itself. The
// port guard (port_guard.h) then keeps containers from sending to each other.
enum class PortMode { isolated, reflecting };

// Makes the veth pair (the peer straight inside the namespace as eth0), addresses, default route, lo up;
// IPv6 off in the namespace. What is there already and right stays. Returns what it did, empty for nothing.
// A link that is new is isolated in either mode, until reflect_port().
std::vector<std::string> attach_container(const Attachment& attachment, Metadata metadata = Metadata::blocked,
                                          PortMode mode = PortMode::isolated);
// Once the guard stands. Returns what it did, or nothing.
std::vector<std::string> reflect_port(const std::string& container);

// Removes the link; absent is fine. The namespace stays: Netns::remove().
void detach_container(const std::string& container);

// Texts for the container's /etc. `names` are its own, the hostname first.
std::string hosts_file(const Address& address, const std::vector<std::string>& names);
std::string resolv_conf_file(const std::string& zone = "q");  // 127.0.0.11, ndots:0

}  // namespace rayctl::net
