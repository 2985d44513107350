// Settings below /proc/sys/net of the calling thread's network namespace.
#pragma once

#include <optional>
#include <string>

namespace rayctl::net {

// "ipv4/ip_forward"; a link's name may hold dots, which is why '/' separates. Empty when there is no such
// file.
std::optional<std::string> sysctl(const std::string& key);

// Writes when the value differs; tells whether it did. A missing file is an error.
bool set_sysctl(const std::string& key, const std::string& value);

// For what is better so but not needed: a kernel without the setting (no IPv6) and a read-only /proc/sys (we
// are in a container ourselves) are fine.
bool set_sysctl_if_exists(const std::string& key, const std::string& value);

}  // namespace rayctl::net
