#include "base/error.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/credentials.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string registry = {}, auth_file = {};
};

int run(const Options& options) {
  std::string registry = registry_name(options.registry);
  bool removed = oci::remove_credentials(registry, options.auth_file);
  fmt::print("{} {}\n", removed ? "logged out of" : "there was no login for", registry);
  return 0;
}

}  // namespace

Command logout_command() {
  auto options = std::make_shared<Options>();
  return {.name = "logout",
          .group = Group::images,
          .summary = "Forget a registry's login",
          .arguments = {positional("REGISTRY", &options->registry, "HOST[:PORT]; Docker Hub without one"),
                        option("--authfile", "FILE", &options->auth_file, "forget it in this file alone")},
          .run = [options](const Globals&) { return run(*options); }};
}

}  // namespace rayctl::cli
