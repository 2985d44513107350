// Who listens on a port of this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace rayctl::net {

// "process 812 (nginx)", or "another process" when it can't be seen which; empty: the TCP port can be had, on
// every address, in the calling process's network namespace.
std::optional<std::string> tcp_port_holder(uint16_t port);

}  // namespace rayctl::net
