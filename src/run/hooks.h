// The container's hooks: programs that get its state on stdin.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

// What runtimes show of a container (runtime.md, State); also the document on a hook's stdin.
struct ContainerState {
  std::string id;
  std::string status;  // creating, created, running, stopped; rayctl also says paused
  pid_t pid = 0;       // 0 = none
  std::string bundle;
  std::map<std::string, std::string> annotations = {};
};

nlohmann::json to_json(const ContainerState& state);
std::string to_text(const ContainerState& state);

// Whether a start has to stop once all is mounted, for hooks that run before the root is entered or need the
// state.
bool wants_state(const Hooks& hooks);

// One after the other; the first that can't be run, fails or exceeds its timeout (then it is killed) is an
// error with the end of what it wrote. A hook's environment is its own `env` and nothing else
// (CVE-2025-23266).
void run_hooks(const std::vector<Hook>& hooks, const std::string& kind, const std::string& state);

}  // namespace rayctl::run
