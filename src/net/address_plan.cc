#include "net/address_plan.h"

#include <algorithm>

#include "base/error.h"

namespace rayctl::net {

namespace {

constexpr uint32_t reserved_addresses = 3;  // base, gateway, broadcast

uint32_t size_of(const Subnet& subnet) {
  return uint32_t{1} << (32 - subnet.length);
}

Subnet nth(const Subnet& pool, int length, uint32_t index) {
  return {ipv4(to_uint32(pool.base) + index * (uint32_t{1} << (32 - length))), length};
}

const HostNetwork* overlapping(const Subnet& subnet, const std::vector<HostNetwork>& used) {
  for (const HostNetwork& network : used)
    if (overlaps(network.subnet, subnet)) return &network;
  return nullptr;
}

Mac mac_from(uint8_t second, const Address& address) {
  const auto& b = address.bytes;
  return Mac{{0x02, second, b[0], b[1], b[2], b[3]}};
}

// Where private address space is seldom used: outside the defaults of the big clouds, Docker and Kubernetes.
const std::vector<Subnet>& build_blocks() {
  static const std::vector<Subnet> blocks = {parse_subnet("10.62.240.0/20"), parse_subnet("192.168.240.0/20"),
                                             parse_subnet("172.27.240.0/20"),
                                             parse_subnet("100.126.240.0/20")};
  return blocks;
}

}  // namespace

const std::vector<Subnet>& default_pools() {
  static const std::vector<Subnet> pools = {parse_subnet("10.64.0.0/12"),  parse_subnet("10.80.0.0/12"),
                                            parse_subnet("10.112.0.0/12"), parse_subnet("10.208.0.0/12"),
                                            parse_subnet("172.16.0.0/12"), parse_subnet("100.64.0.0/12")};
  return pools;
}

void check_pool(const Subnet& pool, const std::vector<HostNetwork>& used) {
  if (const HostNetwork* other = overlapping(pool, used))
    throw Error("cannot use pool '{}': it overlaps this host's '{}' (choose another with --pool)",
                to_string(pool), other->description);
}

AddressPlan choose_plan(const std::optional<Subnet>& pool, const std::vector<HostNetwork>& used,
                        int node_prefix) {
  if (pool) {
    if (!pool->base.is_v4()) throw UsageError("cannot use pool '{}': it is not IPv4", to_string(*pool));
    if (node_prefix > 29 || node_prefix < 16)
      throw UsageError("cannot use node prefix '/{}': it must be from /16 to /29", node_prefix);
    if (pool->length < 8 || pool->length >= node_prefix)
      throw UsageError("cannot use pool '{}': it must be from /8 to /{} to hold nodes of /{} each",
                       to_string(*pool), node_prefix - 1, node_prefix);
    check_pool(*pool, used);
    return {*pool, node_prefix};
  }
  std::string taken;
  for (const Subnet& candidate : default_pools()) {
    const HostNetwork* other = overlapping(candidate, used);
    if (!other) return {candidate, node_prefix};
    taken +=
        fmt::format("{}{} overlaps {}", taken.empty() ? "" : ", ", to_string(candidate), other->description);
  }
  throw Error("cannot find a free address pool: {} (choose one with --pool)", taken);
}

uint32_t node_limit(const AddressPlan& plan) {
  return uint32_t{1} << (plan.node_prefix - plan.pool.length);
}

uint32_t container_limit(const Subnet& node) {
  return size_of(node) - reserved_addresses;
}

Subnet node_subnet(const AddressPlan& plan, uint32_t index) {
  if (index >= node_limit(plan))
    throw Error("cannot give node {} a subnet: pool '{}' holds {} nodes of /{} each", index + 1,
                to_string(plan.pool), node_limit(plan), plan.node_prefix);
  return nth(plan.pool, plan.node_prefix, index);
}

Address vtep_address(const Subnet& node) {
  return node.base;
}

Address gateway_address(const Subnet& node) {
  return ipv4(to_uint32(node.base) + 1);
}

Address container_address(const Subnet& node, uint32_t slot) {
  if (slot >= container_limit(node))
    throw Error("cannot give container {} an address: subnet '{}' holds {} containers", slot + 1,
                to_string(node), container_limit(node));
  return ipv4(to_uint32(node.base) + 2 + slot);
}

Mac container_mac(const Address& address) {
  return mac_from(0x72, address);
}

Mac vtep_mac(const Subnet& node) {
  return mac_from(0x76, node.base);
}

Subnet choose_build_subnet(const std::vector<HostNetwork>& used, const std::vector<Subnet>& taken) {
  for (const Subnet& block : build_blocks()) {
    if (overlapping(block, used)) continue;
    for (uint32_t i = 0; i < size_of(block) / 4; ++i) {
      Subnet candidate = nth(block, 30, i);
      if (std::none_of(taken.begin(), taken.end(), [&](const Subnet& t) { return overlaps(t, candidate); }))
        return candidate;
    }
  }
  throw Error("cannot find a free network for the build: each of '{}', '{}', '{}' and '{}' overlaps a route",
              to_string(build_blocks()[0]), to_string(build_blocks()[1]), to_string(build_blocks()[2]),
              to_string(build_blocks()[3]));
}

}  // namespace rayctl::net
