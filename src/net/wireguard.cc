#include "net/wireguard.h"

#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace rayctl::net {

namespace {

Bytes bytes_of(const WireguardKey& key) {
  return std::as_bytes(std::span(key));
}

Message generic_message(uint16_t family, uint8_t command, uint8_t version, uint16_t flags) {
  Message message(family, flags);
  genlmsghdr header{};
  header.cmd = command;
  header.version = version;
  return message.fixed(header);
}

void put_endpoint(Message& message, const Endpoint& endpoint) {
  if (endpoint.address.is_v4()) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    std::memcpy(&address.sin_addr, endpoint.address.bytes.data(), 4);
    message.bytes(WGPEER_A_ENDPOINT, std::as_bytes(std::span(&address, 1)));
  } else {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(endpoint.port);
    std::memcpy(&address.sin6_addr, endpoint.address.bytes.data(), 16);
    message.bytes(WGPEER_A_ENDPOINT, std::as_bytes(std::span(&address, 1)));
  }
}

std::optional<Endpoint> parse_endpoint(Bytes bytes) {
  Endpoint endpoint;
  if (bytes.size() == sizeof(sockaddr_in)) {
    sockaddr_in address;
    std::memcpy(&address, bytes.data(), sizeof address);
    if (address.sin_family != AF_INET) return std::nullopt;
    std::memcpy(endpoint.address.bytes.data(), &address.sin_addr, 4);
    endpoint.port = ntohs(address.sin_port);
    return endpoint;
  }
  if (bytes.size() != sizeof(sockaddr_in6)) return std::nullopt;
  sockaddr_in6 address;
  std::memcpy(&address, bytes.data(), sizeof address);
  if (address.sin6_family != AF_INET6) return std::nullopt;
  endpoint.address.family = AF_INET6;
  std::memcpy(endpoint.address.bytes.data(), &address.sin6_addr, 16);
  endpoint.port = ntohs(address.sin6_port);
  return endpoint;
}

std::optional<WireguardKey> parse_key(const std::optional<Bytes>& bytes) {
  WireguardKey key;
  if (!bytes || bytes->size() != key.size()) return std::nullopt;
  std::memcpy(key.data(), bytes->data(), key.size());
  return key;
}

void put_peer(Message& message, const WireguardChange& change) {
  message.nest(0, [&] {
    message.bytes(WGPEER_A_PUBLIC_KEY, bytes_of(change.key));
    uint32_t flags = 0;
    if (change.kind == WireguardChange::Kind::remove) flags |= WGPEER_F_REMOVE_ME;
    // Without it a late update would bring a removed peer back.
    if (change.kind == WireguardChange::Kind::update) flags |= WGPEER_F_UPDATE_ONLY;
    if (change.replace_allowed) flags |= WGPEER_F_REPLACE_ALLOWEDIPS;
    if (flags) message.u32(WGPEER_A_FLAGS, flags);
    if (change.endpoint) put_endpoint(message, *change.endpoint);
    if (change.keepalive) message.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, *change.keepalive);
    if (change.allowed.empty()) return;
    message.nest(WGPEER_A_ALLOWEDIPS, [&] {
      for (const Subnet& subnet : change.allowed)
        message.nest(0, [&] {
          message.u16(WGALLOWEDIP_A_FAMILY, static_cast<uint16_t>(subnet.base.family))
              .address(WGALLOWEDIP_A_IPADDR, subnet.base)
              .u8(WGALLOWEDIP_A_CIDR_MASK, static_cast<uint8_t>(subnet.length));
        });
    });
  });
}

void parse_peer(Attributes peer, FoundWireguard& found) {
  auto key = parse_key(peer.find(WGPEER_A_PUBLIC_KEY));
  if (!key) return;
  WireguardPeer& p = found.device.peers[*key];  // the same one again: its list goes on
  if (auto bytes = peer.find(WGPEER_A_ENDPOINT)) p.endpoint = parse_endpoint(*bytes);
  if (auto seconds = peer.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)) p.keepalive = *seconds;
  WireguardStatus& status = found.status[*key];
  if (auto time = peer.find(WGPEER_A_LAST_HANDSHAKE_TIME); time && time->size() == 16)
    std::memcpy(&status.handshake, time->data(), sizeof status.handshake);
  for (auto [type, target] :
       {std::pair{WGPEER_A_RX_BYTES, &status.received}, {WGPEER_A_TX_BYTES, &status.sent}})
    if (auto count = peer.find(static_cast<uint16_t>(type)); count && count->size() == 8)
      std::memcpy(target, count->data(), 8);
  Attributes list = peer.nested(WGPEER_A_ALLOWEDIPS);
  for (Attribute element; list.next(element);) {
    Attributes allowed(element.value);
    auto address = allowed.address(WGALLOWEDIP_A_IPADDR);
    auto length = allowed.u8(WGALLOWEDIP_A_CIDR_MASK);
    if (address && length && *length <= address->size() * 8) p.allowed.push_back({*address, *length});
  }
  std::sort(p.allowed.begin(), p.allowed.end());
}

}  // namespace

std::string to_string(const Endpoint& endpoint) {
  std::string host = to_string(endpoint.address);
  return fmt::format("{}:{}", endpoint.address.is_v4() ? host : "[" + host + "]", endpoint.port);
}

WireguardChanges diff(const WireguardDevice& wanted, const FoundWireguard& found,
                      const std::set<WireguardKey>& moved, int64_t now) {
  WireguardChanges changes;
  if (wanted.private_key != found.device.private_key) changes.private_key = wanted.private_key;
  if (wanted.port != found.device.port) changes.port = wanted.port;
  for (const auto& [key, peer] : wanted.peers) {
    auto at = found.device.peers.find(key);
    if (at == found.device.peers.end()) {
      changes.peers.push_back({WireguardChange::Kind::add, key, peer.endpoint,
                               peer.keepalive ? std::optional(peer.keepalive) : std::nullopt, peer.allowed,
                               false});
      continue;
    }
    const WireguardPeer& had = at->second;
    WireguardChange change{WireguardChange::Kind::update, key};
    auto status = found.status.find(key);
    bool ended = status == found.status.end() || now - status->second.handshake > stale_handshake.count();
    if (peer.endpoint && peer.endpoint != had.endpoint && (ended || moved.contains(key)))
      change.endpoint = peer.endpoint;
    if (peer.keepalive != had.keepalive) change.keepalive = peer.keepalive;
    if (!std::includes(peer.allowed.begin(), peer.allowed.end(), had.allowed.begin(), had.allowed.end())) {
      // Something to take away. Another peer that wants it takes it; what nobody wants makes us say the whole
      // list.
      std::vector<Subnet> surplus;
      std::set_difference(had.allowed.begin(), had.allowed.end(), peer.allowed.begin(), peer.allowed.end(),
                          std::back_inserter(surplus));
      change.replace_allowed = std::any_of(surplus.begin(), surplus.end(), [&](const Subnet& subnet) {
        return std::none_of(wanted.peers.begin(), wanted.peers.end(), [&](const auto& other) {
          return std::binary_search(other.second.allowed.begin(), other.second.allowed.end(), subnet);
        });
      });
    }
    if (change.replace_allowed)
      change.allowed = peer.allowed;
    else
      std::set_difference(peer.allowed.begin(), peer.allowed.end(), had.allowed.begin(), had.allowed.end(),
                          std::back_inserter(change.allowed));
    if (change.endpoint || change.keepalive || !change.allowed.empty() || change.replace_allowed)
      changes.peers.push_back(change);
  }
  for (const auto& entry : found.device.peers)
    if (!wanted.peers.contains(entry.first))
      changes.peers.push_back({WireguardChange::Kind::remove, entry.first});
  return changes;
}

std::vector<std::string> describe(const WireguardChanges& changes,
                                  const std::map<WireguardKey, std::string>& names) {
  std::vector<std::string> texts;
  if (changes.private_key) texts.push_back("set the overlay's key");
  if (changes.port) texts.push_back(fmt::format("set the overlay's UDP port to {}", *changes.port));
  for (const WireguardChange& change : changes.peers) {
    auto name = names.find(change.key);
    std::string who = name == names.end() ? to_text(change.key) : name->second;
    std::string text = fmt::format("{} peer {}",
                                   change.kind == WireguardChange::Kind::add      ? "add"
                                   : change.kind == WireguardChange::Kind::update ? "update"
                                                                                  : "remove",
                                   who);
    if (change.endpoint) text += " at " + to_string(*change.endpoint);
    for (const Subnet& subnet : change.allowed) text += " for " + to_string(subnet);
    texts.push_back(text);
  }
  return texts;
}

std::vector<Message> set_device_messages(uint16_t family, const std::string& link,
                                         const WireguardChanges& changes) {
  std::vector<Message> messages;
  if (changes.empty()) return messages;
  size_t next = 0;
  do {
    Message& message = messages.emplace_back(generic_message(family, WG_CMD_SET_DEVICE, WG_GENL_VERSION, 0));
    message.string(WGDEVICE_A_IFNAME, link);
    if (next == 0) {
      if (changes.private_key) message.bytes(WGDEVICE_A_PRIVATE_KEY, bytes_of(*changes.private_key));
      if (changes.port) message.u16(WGDEVICE_A_LISTEN_PORT, *changes.port);
    }
    size_t end = std::min(changes.peers.size(), next + peers_per_message);
    if (next < end)
      message.nest(WGDEVICE_A_PEERS, [&] {
        for (; next < end; ++next) put_peer(message, changes.peers[next]);
      });
  } while (next < changes.peers.size());
  return messages;
}

void parse_device(const Answer& answer, FoundWireguard& found) {
  auto header = answer.fixed<genlmsghdr>();
  if (!header || header->cmd != WG_CMD_GET_DEVICE) return;
  Attributes attributes = answer.attributes(sizeof(genlmsghdr));
  if (auto key = parse_key(attributes.find(WGDEVICE_A_PRIVATE_KEY))) found.device.private_key = *key;
  if (auto port = attributes.u16(WGDEVICE_A_LISTEN_PORT)) found.device.port = *port;
  Attributes peers = attributes.nested(WGDEVICE_A_PEERS);
  for (Attribute peer; peers.next(peer);) parse_peer(Attributes(peer.value), found);
}

std::optional<uint16_t> wireguard_family(Netlink& generic) {
  Message message = generic_message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, 0);
  message.string(CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
  std::optional<uint16_t> family;
  Outcome outcome = generic.query(message, [&](const Answer& answer) {
    family = answer.attributes(sizeof(genlmsghdr)).u16(CTRL_ATTR_FAMILY_ID);
  });
  if (outcome.code && outcome.code != ENOENT)
    throw SysError(outcome.code, "cannot look for WireGuard in the kernel");
  return family;
}

bool kernel_has_wireguard() {
  Netlink generic(NETLINK_GENERIC);
  return wireguard_family(generic).has_value();
}

FoundWireguard observe_device(Netlink& generic, uint16_t family, const std::string& link) {
  Message message = generic_message(family, WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0);
  message.string(WGDEVICE_A_IFNAME, link);
  FoundWireguard found;
  generic.dump(message, "cannot look at the overlay's peers",
               [&](const Answer& answer) { parse_device(answer, found); });
  return found;
}

}  // namespace rayctl::net
