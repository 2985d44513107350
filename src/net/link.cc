#include "net/link.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <cerrno>

namespace rayctl::net {

namespace {

Message link_message(uint16_t type, uint16_t flags, int index = 0) {
  Message message(type, flags);
  ifinfomsg header{};
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  return message.fixed(header);
}

VxlanLink parse_vxlan(Attributes data, const Link& link) {
  VxlanLink vxlan;
  vxlan.name = link.name;
  vxlan.vni = data.u32(IFLA_VXLAN_ID).value_or(0);
  vxlan.port = data.be16(IFLA_VXLAN_PORT).value_or(0);
  vxlan.underlay_index = static_cast<int>(data.u32(IFLA_VXLAN_LINK).value_or(0));
  vxlan.learning = data.u8(IFLA_VXLAN_LEARNING).value_or(0) != 0;
  if (auto local = data.address(IFLA_VXLAN_LOCAL)) vxlan.local = *local;
  if (auto local = data.address(IFLA_VXLAN_LOCAL6)) vxlan.local = *local;
  vxlan.mac = link.mac;
  vxlan.mtu = link.mtu;
  vxlan.up = link.up;
  return vxlan;
}

}  // namespace

Link parse_link(const Answer& answer) {
  Link link;
  auto header = answer.fixed<ifinfomsg>();
  if (!header) return link;
  Attributes attributes = answer.attributes(sizeof(ifinfomsg));
  link.index = header->ifi_index;
  link.up = header->ifi_flags & IFF_UP;
  link.loopback = header->ifi_flags & IFF_LOOPBACK;
  link.name = attributes.string(IFLA_IFNAME).value_or("");
  link.mac = attributes.mac(IFLA_ADDRESS).value_or(Mac{});
  link.mtu = attributes.u32(IFLA_MTU).value_or(0);
  link.master = static_cast<int>(attributes.u32(IFLA_MASTER).value_or(0));
  Attributes info = attributes.nested(IFLA_LINKINFO);
  link.kind = info.string(IFLA_INFO_KIND).value_or("");
  if (info.string(IFLA_INFO_SLAVE_KIND).value_or("") == "bridge") {
    Attributes port = info.nested(IFLA_INFO_SLAVE_DATA);
    link.isolated = port.u8(IFLA_BRPORT_ISOLATED).value_or(0) != 0;
    link.hairpin = port.u8(IFLA_BRPORT_MODE).value_or(0) != 0;
  }
  if (link.kind == "vxlan") link.vxlan = parse_vxlan(info.nested(IFLA_INFO_DATA), link);
  return link;
}

std::optional<Link> find_link(Netlink& netlink, const std::string& name) {
  Message message = link_message(RTM_GETLINK, 0);
  message.string(IFLA_IFNAME, name);
  std::optional<Link> found;
  Outcome outcome = netlink.query(message, [&](const Answer& answer) {
    if (answer.type == RTM_NEWLINK) found = parse_link(answer);
  });
  if (outcome.code == ENODEV) return std::nullopt;
  if (outcome.code) throw SysError(outcome.code, "cannot look at link '{}'", name);
  return found;
}

Link require_link(Netlink& netlink, const std::string& name) {
  auto link = find_link(netlink, name);
  if (!link) throw Error("cannot find link '{}'", name);
  return *link;
}

std::vector<Link> list_links(Netlink& netlink) {
  Message message = link_message(RTM_GETLINK, 0);
  std::vector<Link> links;
  netlink.dump(message, "cannot list links", [&](const Answer& answer) {
    if (answer.type == RTM_NEWLINK) links.push_back(parse_link(answer));
  });
  return links;
}

void create_bridge(Netlink& netlink, const std::string& name, const Mac& mac, uint32_t mtu) {
  Message message = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.string(IFLA_IFNAME, name).mac(IFLA_ADDRESS, mac).u32(IFLA_MTU, mtu);
  message.nest(IFLA_LINKINFO, [&] { message.string(IFLA_INFO_KIND, "bridge"); });
  Outcome outcome = netlink.attempt(message);
  if (outcome.code == EOPNOTSUPP)
    throw Error("cannot make bridge '{}': this kernel has none (CONFIG_BRIDGE; try: modprobe bridge)", name);
  if (outcome.code) throw SysError(outcome.code, "cannot make bridge '{}'", name);
}

void create_vxlan(Netlink& netlink, const VxlanLink& wanted) {
  Message message = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.string(IFLA_IFNAME, wanted.name).mac(IFLA_ADDRESS, wanted.mac).u32(IFLA_MTU, wanted.mtu);
  message.nest(IFLA_LINKINFO, [&] {
    message.string(IFLA_INFO_KIND, "vxlan");
    message.nest(IFLA_INFO_DATA, [&] {
      message.u32(IFLA_VXLAN_ID, wanted.vni)
          .be16(IFLA_VXLAN_PORT, wanted.port)
          .u8(IFLA_VXLAN_LEARNING, 0)
          .address(wanted.local.is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, wanted.local);
      if (wanted.underlay_index) message.u32(IFLA_VXLAN_LINK, static_cast<uint32_t>(wanted.underlay_index));
    });
  });
  Outcome outcome = netlink.attempt(message);
  if (outcome.code == EOPNOTSUPP && outcome.text.empty())
    throw Error("cannot make VXLAN link '{}': this kernel has none (CONFIG_VXLAN; try: modprobe vxlan)",
                wanted.name);
  if (outcome.code == 0) return;
  SysError error(outcome.code, "cannot make VXLAN link '{}' (vni {}, UDP port {}, from {})", wanted.name,
                 wanted.vni, wanted.port, to_string(wanted.local));
  if (!outcome.text.empty()) error.hint("{}", outcome.text);
  throw error;
}

void create_wireguard(Netlink& netlink, const TunnelLink& wanted) {
  Message message = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.string(IFLA_IFNAME, wanted.name).u32(IFLA_MTU, wanted.mtu);
  message.nest(IFLA_LINKINFO, [&] { message.string(IFLA_INFO_KIND, "wireguard"); });
  Outcome outcome = netlink.attempt(message);
  if (outcome.code == EOPNOTSUPP)
    throw Error(
        "cannot make the encrypted link '{}': this kernel has no WireGuard (CONFIG_WIREGUARD; try: modprobe "
        "wireguard)",
        wanted.name);
  if (outcome.code) throw SysError(outcome.code, "cannot make the encrypted link '{}'", wanted.name);
}

void create_veth(Netlink& netlink, const VethPair& pair) {
  Message message = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.string(IFLA_IFNAME, pair.name).mac(IFLA_ADDRESS, pair.mac).u32(IFLA_MTU, pair.mtu);
  message.nest(IFLA_LINKINFO, [&] {
    message.string(IFLA_INFO_KIND, "veth");
    message.nest(IFLA_INFO_DATA, [&] {
      message.nest(VETH_INFO_PEER, [&] {
        message.fixed(ifinfomsg{});
        message.string(IFLA_IFNAME, pair.peer_name)
            .mac(IFLA_ADDRESS, pair.peer_mac)
            .u32(IFLA_MTU, pair.mtu)
            .u32(IFLA_NET_NS_FD, static_cast<uint32_t>(pair.netns));
      });
    });
  });
  netlink.request(message, "cannot make link '{}'", pair.name);
}

void set_link(Netlink& netlink, int index, const std::string& name, const LinkSettings& settings) {
  Message message(RTM_NEWLINK, 0);
  ifinfomsg header{};
  header.ifi_index = index;
  if (settings.up) {
    header.ifi_change = IFF_UP;
    header.ifi_flags = *settings.up ? IFF_UP : 0;
  }
  message.fixed(header);
  if (settings.mtu) message.u32(IFLA_MTU, *settings.mtu);
  if (settings.mac) message.mac(IFLA_ADDRESS, *settings.mac);
  if (settings.master) message.u32(IFLA_MASTER, static_cast<uint32_t>(*settings.master));
  if (settings.mtu || settings.mac || settings.master || settings.up)
    netlink.request(message, "cannot set up link '{}'", name);
  if (!settings.isolated && !settings.hairpin) return;
  // A port's own settings go by a message of the bridge's family.
  Message port(RTM_SETLINK, 0);
  ifinfomsg port_header{};
  port_header.ifi_family = AF_BRIDGE;
  port_header.ifi_index = index;
  port.fixed(port_header).nest(IFLA_PROTINFO, [&] {
    if (settings.isolated) port.u8(IFLA_BRPORT_ISOLATED, *settings.isolated ? 1 : 0);
    if (settings.hairpin) port.u8(IFLA_BRPORT_MODE, *settings.hairpin ? 1 : 0);
  });
  netlink.request(port, "cannot set up link '{}' on its bridge", name);
}

bool delete_link(Netlink& netlink, const std::string& name) {
  Message message = link_message(RTM_DELLINK, 0);
  message.string(IFLA_IFNAME, name);
  Outcome outcome = netlink.attempt(message);
  if (outcome.code == ENODEV) return false;
  if (outcome.code) throw SysError(outcome.code, "cannot delete link '{}'", name);
  return true;
}

}  // namespace rayctl::net
