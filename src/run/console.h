// The container's terminal.
#pragma once

#include <optional>

#include "base/fd.h"
#include "run/spec.h"

namespace rayctl::run {

struct Terminal {
  Fd master, slave;
};

// A new pty of the devpts instance that is mounted on dev/pts beneath `root`.
Terminal open_terminal(int root, const std::optional<ConsoleSize>& size);

// Makes `slave` the controlling terminal of this new session, and 0, 1 and 2.
void use_terminal(int slave);

}  // namespace rayctl::run
