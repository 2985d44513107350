#include "net/dns_zone.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

constexpr uint16_t class_in = 1;
constexpr std::string_view v4_suffix = ".in-addr.arpa", v6_suffix = ".ip6.arpa";

void put32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
}

DnsRecord soa(const std::string& owner, const DnsTable& table) {
  DnsRecord record{owner, DnsType::soa, dns_negative_ttl, {}};
  record.data = encode_dns_name("ns." + table.zone) + encode_dns_name("root." + table.zone);
  put32(record.data, static_cast<uint32_t>(table.version));
  for (uint32_t value : {60u, 10u, 600u, dns_negative_ttl}) put32(record.data, value);
  return record;
}

DnsReply negative(DnsCode code, const std::string& owner, const DnsTable& table) {
  return {code, true, {}, {soa(owner, table)}};
}

bool ends_with_part(std::string_view name, std::string_view part) {
  return name.size() > part.size() && name.ends_with(part) && name[name.size() - part.size() - 1] == '.';
}

// The addresses of one name, of the family that was asked for; a name without any is NODATA, never NXDOMAIN.
DnsReply addresses_reply(const DnsTable& table, const DnsQuery& query, const std::vector<Address>& addresses,
                         std::minstd_rand& shuffle) {
  DnsReply reply;
  reply.authoritative = true;
  uint32_t ttl = static_cast<uint32_t>(table.ttl.count());
  for (const Address& address : addresses)
    if (query.is(address.is_v4() ? DnsType::a : DnsType::aaaa) || (query.is(DnsType::any) && address.is_v4()))
      reply.answers.push_back(address_record(address, ttl));
  std::shuffle(reply.answers.begin(), reply.answers.end(), shuffle);
  if (reply.answers.empty()) reply.authority.push_back(soa(table.zone, table));
  return reply;
}

using Visible = const std::vector<std::string>*;

bool is_visible(const std::string& name, Visible visible) {
  return !visible || std::binary_search(visible->begin(), visible->end(), name);
}

const std::vector<Address>* find_name(const DnsTable& table, const std::string& name, Visible visible) {
  auto found = table.names.find(name);
  return found != table.names.end() && is_visible(name, visible) ? &found->second : nullptr;
}

std::optional<DnsReply> zone_reply(const DnsTable& table, const DnsQuery& query, std::minstd_rand& shuffle,
                                   Visible visible) {
  const std::string& name = query.name;
  if (name == table.zone) {
    if (query.is(DnsType::soa)) {
      DnsRecord record = soa(table.zone, table);
      record.owner.clear();
      return DnsReply{DnsCode::ok, true, {record}, {}};
    }
    return negative(DnsCode::ok, table.zone, table);
  }
  if (!ends_with_part(name, table.zone)) return std::nullopt;
  if (auto found = find_name(table, name, visible)) return addresses_reply(table, query, *found, shuffle);
  // "wk.q" when there is only "1.wk.q": it exists, without data (RFC 8020).
  for (const auto& entry : table.names)
    if (ends_with_part(entry.first, name) && is_visible(entry.first, visible))
      return negative(DnsCode::ok, table.zone, table);
  return negative(DnsCode::no_such_name, table.zone, table);
}

// "2.0.64.10.in-addr.arpa" -> 10.64.0.2; empty when it isn't a whole address.
std::optional<Address> reverse_address(std::string_view name) {
  Address address;
  if (name.ends_with(v4_suffix)) {
    auto parts = split(name.substr(0, name.size() - v4_suffix.size()), '.');
    if (parts.size() != 4) return std::nullopt;
    for (size_t i = 0; i < 4; ++i) {
      const std::string& part = parts[3 - i];
      auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), address.bytes[i]);
      if (error != std::errc() || end != part.data() + part.size()) return std::nullopt;
    }
    return address;
  }
  if (!name.ends_with(v6_suffix)) return std::nullopt;
  auto parts = split(name.substr(0, name.size() - v6_suffix.size()), '.');
  if (parts.size() != 32) return std::nullopt;
  address.family = AF_INET6;
  for (size_t i = 0; i < 32; ++i) {
    const std::string& part = parts[31 - i];
    uint8_t nibble = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), nibble, 16);
    if (error != std::errc() || part.size() != 1 || end != part.data() + 1) return std::nullopt;
    address.bytes[i / 2] = static_cast<uint8_t>(address.bytes[i / 2] << 4 | nibble);
  }
  return address;
}

// The zone that would hold reverse names of `pool`: whole octets only.
std::string reverse_zone(const Subnet& pool) {
  std::string zone = pool.base.is_v4() ? "in-addr.arpa" : "ip6.arpa";
  for (int i = 0; i < pool.length / 8; ++i) {
    uint8_t byte = pool.base.bytes[static_cast<size_t>(i)];
    zone = pool.base.is_v4() ? fmt::format("{}.{}", byte, zone)
                             : fmt::format("{:x}.{:x}.{}", byte & 0xf, byte >> 4, zone);
  }
  return zone;
}

// The address's own name; where the one who asks may not know it, the first of the others that they may.
// Empty: none.
std::string visible_name(const DnsTable& table, const Address& address, Visible visible) {
  auto found = table.reverse.find(address);
  if (found == table.reverse.end() || is_visible(found->second, visible))
    return found == table.reverse.end() ? "" : found->second;
  for (const auto& [name, addresses] : table.names)
    if (std::find(addresses.begin(), addresses.end(), address) != addresses.end() &&
        is_visible(name, visible))
      return name;
  return "";
}

std::optional<DnsReply> reverse_reply(const DnsTable& table, const DnsQuery& query, Visible visible) {
  auto address = reverse_address(query.name);
  if (!address) return std::nullopt;
  const Subnet* pool = nullptr;
  for (const Subnet& p : table.pools)
    if (contains(p, *address)) pool = &p;
  std::string owner = pool ? reverse_zone(*pool) : table.zone;
  std::string name = visible_name(table, *address, visible);
  if (name.empty()) {
    if (!pool) return std::nullopt;
    return negative(DnsCode::no_such_name, owner, table);
  }
  if (!query.is(DnsType::ptr) && !query.is(DnsType::any)) return negative(DnsCode::ok, owner, table);
  DnsRecord record{{}, DnsType::ptr, static_cast<uint32_t>(table.ttl.count()), encode_dns_name(name)};
  return DnsReply{DnsCode::ok, true, {record}, {}};
}

}  // namespace

std::optional<DnsReply> answer_from_table(const DnsTable& table, const DnsQuery& query,
                                          std::minstd_rand& shuffle, Visible visible) {
  if (query.klass != class_in) return DnsReply{DnsCode::refused};
  if (auto reply = zone_reply(table, query, shuffle, visible)) return reply;
  if (std::find(table.absent.begin(), table.absent.end(), query.name) != table.absent.end())
    return negative(DnsCode::no_such_name, query.name, table);
  if (auto reply = reverse_reply(table, query, visible)) return reply;
  if (query.name == "localhost" || ends_with_part(query.name, "localhost"))  // RFC 6761
    return addresses_reply(table, query, {parse_address("127.0.0.1"), parse_address("::1")}, shuffle);
  if (!query.name.empty() && query.name.find('.') == std::string::npos) {
    if (auto found = find_name(table, query.name + "." + table.zone, visible))
      return addresses_reply(table, query, *found, shuffle);
  }
  return std::nullopt;
}

}  // namespace rayctl::net
