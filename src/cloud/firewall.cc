#include "cloud/firewall.h"

#include <arpa/inet.h>

#include <algorithm>
#include <iterator>

#include "base/text.h"

namespace rayctl::cloud {

std::string normal_cidr(const std::string& text) {
  auto wrong = [&]() -> ProviderError {
    return {FailureKind::invalid, "write an address or ADDRESS/BITS, as 203.0.113.0/24",
            "cannot use '{}' as a network", printable(text)};
  };
  size_t slash = text.find('/');
  std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  int family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, address.c_str(), bytes) != 1) throw wrong();
  unsigned most = family == AF_INET ? 32 : 128, bits = most;
  if (slash != std::string::npos) {
    std::string number = text.substr(slash + 1);
    if (number.empty() || number.size() > 3 || number.find_first_not_of("0123456789") != std::string::npos)
      throw wrong();
    bits = static_cast<unsigned>(std::stoul(number));
    if (bits > most) throw wrong();
  }
  for (unsigned i = 0; i < most / 8; ++i) {
    unsigned kept = bits <= i * 8 ? 0 : std::min(8U, bits - i * 8);
    bytes[i] = static_cast<unsigned char>(bytes[i] & (0xff00U >> kept));
  }
  char shown[INET6_ADDRSTRLEN];
  inet_ntop(family, bytes, shown, sizeof shown);
  return fmt::format("{}/{}", shown, bits);
}

bool is_ipv6_cidr(const std::string& cidr) {
  return cidr.find(':') != std::string::npos;
}

std::vector<FirewallRule> firewall_rules(const Firewall& firewall) {
  std::vector<FirewallRule> rules{{.protocol = "all", .source = "self"}};
  for (const auto* list : {&firewall.admin_cidrs, &firewall.peer_addresses})
    for (const std::string& cidr : *list) rules.push_back({.protocol = "all", .source = normal_cidr(cidr)});
  for (const Firewall::Ports& ports : firewall.public_ports) {
    if (ports.first == 0 || ports.last < ports.first)
      throw ProviderError(FailureKind::invalid, "ports are 1 to 65535", "cannot open the ports {}-{}",
                          ports.first, ports.last);
    for (const char* everywhere : {"0.0.0.0/0", "::/0"})
      rules.push_back({.protocol = "tcp", .first = ports.first, .last = ports.last, .source = everywhere});
  }
  std::sort(rules.begin(), rules.end());
  rules.erase(std::unique(rules.begin(), rules.end()), rules.end());
  return rules;
}

FirewallChange firewall_change(const std::vector<FirewallRule>& wanted,
                               const std::vector<FirewallRule>& found) {
  auto sorted = [](std::vector<FirewallRule> rules) {
    std::sort(rules.begin(), rules.end());
    rules.erase(std::unique(rules.begin(), rules.end()), rules.end());
    return rules;
  };
  std::vector<FirewallRule> w = sorted(wanted), f = sorted(found);
  FirewallChange change;
  std::set_difference(w.begin(), w.end(), f.begin(), f.end(), std::back_inserter(change.add));
  std::set_difference(f.begin(), f.end(), w.begin(), w.end(), std::back_inserter(change.remove));
  return change;
}

}  // namespace rayctl::cloud
