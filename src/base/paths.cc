#include "base/paths.h"

#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"

namespace rayctl {

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string user_state_dir() {
  if (std::string data = environment("XDG_DATA_HOME"); !data.empty()) return join(data, "rayctl");
  if (std::string home = environment("HOME"); !home.empty()) return join(home, ".local/share/rayctl");
  throw Error("cannot find a directory for images: neither HOME nor XDG_DATA_HOME is set");
}

std::string user_run_dir() {
  if (std::string runtime = environment("XDG_RUNTIME_DIR"); !runtime.empty()) return join(runtime, "rayctl");
  return fmt::format("/tmp/rayctl-{}", geteuid());
}

}  // namespace

Paths default_paths() {
  Paths paths{environment("RAYCTL_STATE_DIR"), environment("RAYCTL_RUN_DIR")};
  if (paths.state_dir.empty()) paths.state_dir = running_as_root() ? system_state_dir : user_state_dir();
  if (paths.run_dir.empty()) paths.run_dir = running_as_root() ? system_run_dir : user_run_dir();
  return paths;
}

bool running_as_root() {
  return geteuid() == 0;
}

}  // namespace rayctl
