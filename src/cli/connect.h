// Which cluster a command means, and the way there.
#pragma once

#include <optional>

#include "cli/command.h"
#include "cluster/context.h"
#include "cluster/operator_client.h"

namespace rayctl::cli {

// --context, else --run-dir's supervisor, else RAYCTL_CONTEXT, else this machine's supervisor where one runs,
// else the current context. Empty: the supervisor on this machine.
std::optional<cluster::Context> chosen_context(const Globals& globals);
cluster::OperatorClient connect(const Globals& globals);

}  // namespace rayctl::cli
