#include "cli/connect.h"

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "cluster/control_local.h"

namespace rayctl::cli {

namespace {

std::optional<cluster::Context> current_context() {
  // Without HOME there is none.
  if (!std::getenv("HOME") && !std::getenv("XDG_CONFIG_HOME")) return std::nullopt;
  cluster::Contexts contexts;
  std::optional<std::string> name = contexts.current();
  if (!name) return std::nullopt;
  return contexts.load(*name);
}

// That the user named, as opposed to what is merely there.
std::optional<cluster::Context> named_context(const Globals& globals) {
  if (globals.context) return cluster::Contexts().load(*globals.context);
  if (globals.run_dir_given) return std::nullopt;
  if (const char* name = std::getenv("RAYCTL_CONTEXT"); name && *name) return cluster::Contexts().load(name);
  return std::nullopt;
}

bool has_supervisor(const Globals& globals) {
  return globals.run_dir_given || exists(cluster::control_socket_path(globals.paths.run_dir));
}

}  // namespace

std::optional<cluster::Context> chosen_context(const Globals& globals) {
  if (auto context = named_context(globals)) return context;
  if (has_supervisor(globals)) return std::nullopt;
  return current_context();
}

cluster::OperatorClient connect(const Globals& globals) {
  if (auto context = chosen_context(globals)) return cluster::OperatorClient::dial(*context);
  try {
    return cluster::OperatorClient::local(globals.paths.run_dir);
  } catch (const Error&) {
    // What is left of one that ended, or one that isn't for this user.
    std::optional<cluster::Context> current;
    if (!globals.run_dir_given) current = current_context();
    if (!current) throw;
    return cluster::OperatorClient::dial(*current);
  }
}

}  // namespace rayctl::cli
