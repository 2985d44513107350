// The host's resolver configuration: which servers to ask.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace rayctl::net {

struct Upstream {
  Address address;
  uint16_t port = 53;
  bool operator==(const Upstream&) const = default;
};

// The first three `nameserver` lines (resolv.conf(5)). Zone identifiers of link-local addresses
// ("fe80::1%eth0") can't be carried over: such lines are left out, as is what can't be read.
std::vector<Upstream> parse_resolv_conf(std::string_view text);

Upstream parse_upstream(std::string_view text);  // "1.2.3.4", "1.2.3.4#5353", "[fd00::1]#53" or "fd00::1"
std::string to_string(const Upstream& upstream);

// What the file at `path` says; when that is systemd-resolved's stub (127.0.0.53), the servers behind it from
// /run/systemd/resolve/resolv.conf. A missing file means 127.0.0.1, as the C library has it.
std::vector<Upstream> read_upstreams(const std::string& path);

}  // namespace rayctl::net
