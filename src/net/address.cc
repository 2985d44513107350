#include "net/address.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

// Keeps the first `length` bits.
void mask(std::array<uint8_t, 16>& bytes, int length) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    int bits = length - static_cast<int>(i) * 8;
    if (bits <= 0)
      bytes[i] = 0;
    else if (bits < 8)
      bytes[i] = static_cast<uint8_t>(bytes[i] & (0xff << (8 - bits)));
  }
}

}  // namespace

Address ipv4(uint32_t host_order) {
  Address address;
  for (size_t i = 0; i < 4; ++i) address.bytes[i] = static_cast<uint8_t>(host_order >> (24 - 8 * i));
  return address;
}

uint32_t to_uint32(const Address& address) {
  if (!address.is_v4()) throw Error("cannot use '{}' here: it is not an IPv4 address", to_string(address));
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | address.bytes[i];
  return value;
}

bool is_unspecified(const Address& address) {
  return address.bytes == std::array<uint8_t, 16>{};
}

Address parse_address(std::string_view text) {
  std::string copy(text);
  Address address;
  if (copy.find('\0') == std::string::npos) {
    if (inet_pton(AF_INET, copy.c_str(), address.bytes.data()) == 1) return address;
    address.family = AF_INET6;
    if (inet_pton(AF_INET6, copy.c_str(), address.bytes.data()) == 1) return address;
  }
  throw Error("cannot read '{}': it is not an IP address", printable(text));
}

std::string to_string(const Address& address) {
  char text[INET6_ADDRSTRLEN];
  if (!inet_ntop(address.family, address.bytes.data(), text, sizeof text)) return "?";
  return text;
}

Subnet parse_subnet(std::string_view text) {
  size_t slash = text.find('/');
  if (slash == std::string_view::npos)
    throw Error("cannot read '{}': a subnet is written ADDRESS/LENGTH, e.g. 10.64.0.0/12", printable(text));
  Address address = parse_address(text.substr(0, slash));
  std::string_view digits = text.substr(slash + 1);
  int length = -1;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc() || end != digits.data() + digits.size() || length < 0 ||
      length > static_cast<int>(address.size()) * 8)
    throw Error("cannot read '{}': '{}' is not a prefix length of 0 to {}", printable(text),
                printable(digits), address.size() * 8);
  Subnet subnet = subnet_of(address, length);
  if (subnet.base != address)
    throw Error("cannot use '{}': it has host bits; the subnet is '{}'", printable(text), to_string(subnet));
  return subnet;
}

std::string to_string(const Subnet& subnet) {
  return fmt::format("{}/{}", to_string(subnet.base), subnet.length);
}

Subnet subnet_of(const Address& address, int length) {
  Subnet subnet{address, length};
  mask(subnet.base.bytes, length);
  return subnet;
}

bool contains(const Subnet& subnet, const Address& address) {
  return subnet.base.family == address.family && subnet_of(address, subnet.length).base == subnet.base;
}

bool contains(const Subnet& outer, const Subnet& inner) {
  return inner.length >= outer.length && contains(outer, inner.base);
}

bool overlaps(const Subnet& a, const Subnet& b) {
  return contains(a, b) || contains(b, a);
}

Mac parse_mac(std::string_view text) {
  Mac mac;
  auto parts = split(text, ':');
  bool good = parts.size() == 6;
  for (size_t i = 0; good && i < 6; ++i) {
    const std::string& part = parts[i];
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), mac.bytes[i], 16);
    good = part.size() == 2 && error == std::errc() && end == part.data() + 2;
  }
  if (!good) throw Error("cannot read '{}': it is not a MAC address", printable(text));
  return mac;
}

std::string to_string(const Mac& mac) {
  const auto& b = mac.bytes;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5]);
}

}  // namespace rayctl::net
