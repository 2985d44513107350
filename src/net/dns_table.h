// The table that `rayctl dns` answers from: one JSON file that the supervisor replaces atomically.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace rayctl::net {

// A network namespace in which 127.0.0.11:53 is to be served.
struct DnsNamespace {
  std::string id;     // the container's
  std::string netns;  // path; a namespace made anew under the same path is noticed
  std::optional<std::vector<std::string>> visible = {};  // the names that exist for it, sorted; empty: all
  bool operator==(const DnsNamespace&) const = default;
};

struct DnsTable {
  uint64_t version = 0;  // the writer's; the status file tells which one is served
  std::string zone = "q";
  std::chrono::seconds ttl{1};     // 0 … 5 keeps clients from holding on to the dead
  std::vector<Subnet> pools = {};  // reverse names below these are never forwarded
  std::map<std::string, std::vector<Address>> names = {};  // "ray-wk-1.q"; lower case; several = a label
  std::map<Address, std::string> reverse = {};             // the one name that an address has
  std::vector<std::string> absent = {};                    // never forwarded: no such name
  std::vector<DnsNamespace> containers = {};
  std::string resolv_conf = "/etc/resolv.conf";  // upstreams; watched. 127.0.0.53 there: systemd-resolved's
  std::vector<std::string> upstreams = {};       // "1.2.3.4", "1.2.3.4#5353": used instead when not empty
  bool operator==(const DnsTable&) const = default;
};

// Both directions; parse checks names (letters, digits, '-', '_', at most 63 a label), zone and limits.
std::string dns_table_text(const DnsTable& table);
DnsTable parse_dns_table(std::string_view text, const std::string& name);

// Adds `name`.zone -> `address`, and the reverse name unless the address has one already.
void add_name(DnsTable& table, const std::string& name, const Address& address);

}  // namespace rayctl::net
