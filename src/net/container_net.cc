#include "net/container_net.h"

#include <algorithm>

#include "net/address_plan.h"
#include "net/firewall.h"
#include "net/inside.h"
#include "net/link.h"
#include "net/names.h"

namespace rayctl::net {

namespace {

constexpr size_t id_part = 12;  // what people see of an id

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

}  // namespace

Attachment attachment(const std::string& container, const std::string& netns, const Subnet& node,
                      uint32_t slot, uint32_t mtu, const std::string& bridge) {
  Address address = container_address(node, slot);
  return {.container = container,
          .netns = netns,
          .address = address,
          .gateway = gateway_address(node),
          .mac = container_mac(address),
          .mtu = mtu,
          .bridge = bridge};
}

std::string host_link_name(const std::string& container) {
  std::string part = container.substr(0, id_part);
  if (part.size() < id_part || !std::all_of(part.begin(), part.end(), is_hex)) {
    uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (char c : container) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    part = fmt::format("{:012x}", hash >> 16);
  }
  return std::string(container_prefix) + part;
}

std::vector<std::string> attach_container(const Attachment& wanted, Metadata metadata, PortMode mode) {
  std::vector<std::string> changes;
  Netlink netlink(NETLINK_ROUTE);
  std::string name = host_link_name(wanted.container);
  Link bridge = require_link(netlink, wanted.bridge);
  Netns netns = Netns::open(wanted.netns);
  InsideLink inside{
      .address = wanted.address, .gateway = wanted.gateway, .mac = wanted.mac, .mtu = wanted.mtu};
  if (metadata == Metadata::blocked) inside.unreachable = metadata_subnets();
  auto link = find_link(netlink, name);
  bool peer = has_link_inside(netns, inside.name);
  if (link && !peer) {  // the far end is in a namespace that was replaced
    delete_link(netlink, name);
    link.reset();
  }
  if (!link) {
    // An eth0 whose other end is gone leads nowhere.
    if (peer) delete_link_inside(netns, inside.name);
    prepare_inside(netns);
    Mac host_mac = wanted.mac;
    host_mac.bytes[1] = 0x73;
    create_veth(netlink, {.name = name,
                          .peer_name = inside.name,
                          .mac = host_mac,
                          .peer_mac = wanted.mac,
                          .mtu = wanted.mtu,
                          .netns = netns.fd()});
    changes.push_back(fmt::format("create link {} to container {}", name, wanted.container));
    link = require_link(netlink, name);
  }
  LinkSettings settings;
  if (link->mtu != wanted.mtu) settings.mtu = wanted.mtu;
  if (link->master != bridge.index) settings.master = bridge.index;
  if (!link->up) settings.up = true;
  bool keep = mode == PortMode::reflecting && !settings.master;
  if (!link->isolated && !keep) settings.isolated = true;
  if (settings.master) settings.isolated = true;
  if (link->hairpin && !keep) settings.hairpin = false;
  if (settings.mtu || settings.master || settings.up || settings.isolated || settings.hairpin) {
    set_link(netlink, link->index, name, settings);
    if (changes.empty()) changes.push_back(fmt::format("set up link {} on {}", name, wanted.bridge));
  }
  for (const std::string& change : configure_inside(netns, inside))
    changes.push_back(fmt::format("in container {}: {}", wanted.container, change));
  return changes;
}

std::vector<std::string> reflect_port(const std::string& container) {
  Netlink netlink(NETLINK_ROUTE);
  std::string name = host_link_name(container);
  Link link = require_link(netlink, name);
  if (!link.isolated && link.hairpin) return {};
  set_link(netlink, link.index, name, {.isolated = false, .hairpin = true});
  return {fmt::format("let link {} take frames of its bridge's other ports", name)};
}

void detach_container(const std::string& container) {
  Netlink netlink(NETLINK_ROUTE);
  delete_link(netlink, host_link_name(container));
}

std::string hosts_file(const Address& address, const std::vector<std::string>& names) {
  std::string text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  text += to_string(address) + '\t';
  for (size_t i = 0; i < names.size(); ++i) text += (i ? " " : "") + names[i];
  return text + '\n';
}

std::string resolv_conf_file(const std::string& zone) {
  return fmt::format("nameserver 127.0.0.11\nsearch {}\noptions ndots:0\n", zone);
}

}  // namespace rayctl::net
