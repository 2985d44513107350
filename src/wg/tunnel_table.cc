#include "wg/tunnel_table.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::wg {

namespace {

constexpr size_t peer_limit = 65536;
constexpr size_t interface_limit = 15;
constexpr uint64_t mtu_least = 576, mtu_most = 65535 - 80;
constexpr uint64_t keepalive_most = 65535;

uint64_t between(const Json& document, std::string_view key, uint64_t fallback, uint64_t least,
                 uint64_t most) {
  uint64_t value = document.size_or(key, fallback);
  if (value < least || value > most)
    throw Error("cannot use '{}.{}': {} is not {} to {}", document.path(), key, value, least, most);
  return value;
}

TunnelPeer parse_peer(const Json& item) {
  item.only({"public_key", "preshared_key", "endpoint", "allowed_ips", "keepalive", "cipher"});
  TunnelPeer peer;
  peer.public_key = parse_public_key(item.at("public_key").string(), item.path() + ".public_key");
  if (auto key = item.find("preshared_key"))
    peer.preshared_key = parse_secret(key->string(), item.path() + ".preshared_key");
  if (auto endpoint = item.find("endpoint")) peer.endpoint = parse_endpoint(endpoint->string());
  for (const std::string& subnet : item.strings_or_empty("allowed_ips"))
    peer.allowed_ips.push_back(net::parse_subnet(subnet));
  peer.keepalive = std::chrono::seconds(between(item, "keepalive", 0, 0, keepalive_most));
  peer.cipher = parse_cipher(item.string_or("cipher", std::string(to_string(peer.cipher))));
  return peer;
}

void check_interface(const std::string& name, const std::string& path) {
  if (name.empty() || name.size() > interface_limit || name == "." || name == ".." ||
      name.find_first_of("/ \t\n:%") != std::string::npos || name != printable(name))
    throw Error("cannot use '{}.interface': '{}' is not a link's name of 1 to {} characters", path,
                printable(name), interface_limit);
}

}  // namespace

Endpoint parse_endpoint(std::string_view text) {
  size_t colon = text.rfind(':');
  Endpoint endpoint;
  if (colon != std::string_view::npos) {
    std::string_view address = text.substr(0, colon), port = text.substr(colon + 1);
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    bool brackets = address.size() > 2 && address.front() == '[' && address.back() == ']';
    if (brackets) address = address.substr(1, address.size() - 2);
    if (error == std::errc() && end == port.data() + port.size() && endpoint.port != 0 &&
        (address.find(':') != std::string_view::npos) == brackets) {
      endpoint.address = net::parse_address(address);
      return endpoint;
    }
  }
  throw Error("cannot read '{}': an endpoint is written ADDRESS:PORT, with IPv6 in brackets",
              printable(text));
}

std::string to_string(const Endpoint& endpoint) {
  return fmt::format(fmt::runtime(endpoint.address.is_v4() ? "{}:{}" : "[{}]:{}"),
                     net::to_string(endpoint.address), endpoint.port);
}

std::string tunnel_table_text(const TunnelTable& table) {
  nlohmann::json peers = nlohmann::json::array();
  for (const TunnelPeer& peer : table.peers) {
    nlohmann::json item = {{"public_key", key_text(peer.public_key)},
                           {"keepalive", peer.keepalive.count()},
                           {"cipher", to_string(peer.cipher)}};
    if (peer.preshared_key != Secret{}) item["preshared_key"] = key_text(peer.preshared_key.bytes);
    if (peer.endpoint) item["endpoint"] = to_string(*peer.endpoint);
    nlohmann::json& allowed = item["allowed_ips"] = nlohmann::json::array();
    for (const net::Subnet& subnet : peer.allowed_ips) allowed.push_back(net::to_string(subnet));
    peers.push_back(std::move(item));
  }
  nlohmann::json document = {{"version", table.version},
                             {"interface", table.interface},
                             {"netns", table.netns},
                             {"mtu", table.mtu},
                             {"private_key", key_text(table.private_key.bytes)},
                             {"listen_port", table.listen_port},
                             {"mark", table.mark},
                             {"rekey_after", table.rekey_after.count()},
                             {"peers", std::move(peers)}};
  return document.dump(1) + "\n";
}

TunnelTable parse_tunnel_table(std::string_view text, const std::string& name) {
  Json document = Json::parse(text, name);
  document.only(
      {"version", "interface", "netns", "mtu", "private_key", "listen_port", "mark", "rekey_after", "peers"});
  TunnelTable table;
  table.version = document.at("version").size();
  table.interface = document.at("interface").string();
  check_interface(table.interface, name);
  table.netns = document.string_or("netns", "");
  table.mtu = static_cast<uint32_t>(between(document, "mtu", table.mtu, mtu_least, mtu_most));
  table.private_key = parse_secret(document.at("private_key").string(), name + ".private_key");
  table.listen_port = static_cast<uint16_t>(between(document, "listen_port", table.listen_port, 1, 65535));
  table.mark = static_cast<uint32_t>(between(document, "mark", 0, 0, UINT32_MAX));
  table.rekey_after = std::chrono::seconds(between(document, "rekey_after", 120, 5, 120));
  std::set<PublicKey> keys = {DhKey(table.private_key).public_key()};
  std::set<net::Subnet> subnets;
  if (auto peers = document.find("peers"))
    for (const Json& item : peers->items()) {
      TunnelPeer peer = parse_peer(item);
      if (!keys.insert(peer.public_key).second)
        throw Error("cannot use '{}.public_key': it is our own or another peer's", item.path());
      for (const net::Subnet& subnet : peer.allowed_ips)
        if (!subnets.insert(subnet).second)
          throw Error("cannot use '{}.allowed_ips': another peer has {}", item.path(),
                      net::to_string(subnet));
      table.peers.push_back(std::move(peer));
      if (table.peers.size() > peer_limit)
        throw Error("cannot use '{}': it has more than {} peers", name, peer_limit);
    }
  return table;
}

}  // namespace rayctl::wg
