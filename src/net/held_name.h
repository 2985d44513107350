// Names that one process holds within its network namespace.
#pragma once

#include <string>

#include "base/fd.h"

namespace rayctl::net {

// Holds `name` (at most 100 bytes) until the descriptor is closed or the process ends; empty when another
// holds it. An abstract socket: it belongs to the network namespace, whatever run directories and pid
// namespaces there are.
Fd hold_name(const std::string& name);

}  // namespace rayctl::net
