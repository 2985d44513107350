// IP addresses, subnets and MAC addresses as values, and their text forms.
#pragma once

#include <sys/socket.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rayctl::net {

// An IPv4 or IPv6 address in network byte order; the unused tail of an IPv4 address is zero.
struct Address {
  int family = AF_INET;
  std::array<uint8_t, 16> bytes = {};

  bool is_v4() const { return family == AF_INET; }
  size_t size() const { return is_v4() ? 4 : 16; }
  auto operator<=>(const Address&) const = default;
};

Address ipv4(uint32_t host_order);
uint32_t to_uint32(const Address& address);  // host order; an error for IPv6
bool is_unspecified(const Address& address);

// "10.64.0.2", "fd00::1"; no zone identifier, no port.
Address parse_address(std::string_view text);
std::string to_string(const Address& address);

// Addresses that share their first `length` bits with `base`, whose other bits are zero.
struct Subnet {
  Address base = {};
  int length = 0;
  auto operator<=>(const Subnet&) const = default;
};

// "10.64.0.0/12"; host bits that aren't zero are an error that shows the subnet meant.
Subnet parse_subnet(std::string_view text);
std::string to_string(const Subnet& subnet);
Subnet subnet_of(const Address& address, int length);  // clears the host bits
bool contains(const Subnet& subnet, const Address& address);
bool contains(const Subnet& outer, const Subnet& inner);
bool overlaps(const Subnet& a, const Subnet& b);

struct Mac {
  std::array<uint8_t, 6> bytes = {};
  auto operator<=>(const Mac&) const = default;
};

Mac parse_mac(std::string_view text);  // "02:72:0a:40:00:02"
std::string to_string(const Mac& mac);

}  // namespace rayctl::net
