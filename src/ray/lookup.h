// Names through the container's resolv.conf and hosts file, by c-ares: a static binary has no NSS to rely on.
#pragma once

#include <optional>
#include <string>

namespace rayctl::ray {

// The first IPv4 address of `name`; empty when there is none now. Takes at most about a second.
std::optional<std::string> lookup_ipv4(const std::string& name);

}  // namespace rayctl::ray
