#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "fleet/head_images.h"
#include "oci/credentials.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string host, auth, ca;
};

int set(const Globals& globals, const Options& options) {
  oci::Credentials credentials = oci::find_credentials(options.host, "", options.auth);
  std::string ca = options.ca.empty() ? "" : read_file(options.ca, 64 << 10);
  if (credentials.empty() && ca.empty())
    throw Error("cannot give the cluster a login for '{}': this user has none (rayctl login {})",
                options.host, options.host);
  cluster::OperatorClient client = connect(globals);
  fleet::give_registry_login(client, options.host, credentials, ca);
  fmt::print("{}\n", options.host);
  return 0;
}

}  // namespace

Command registry_command() {
  auto o = std::make_shared<Options>();
  Argument host = required(positional("HOST[:PORT]", &o->host, "the registry"));
  return {.name = "registry",
          .group = Group::cluster,
          .summary = "Give the cluster's nodes the login and CA of a private registry",
          .description =
              "The head keeps them in a file that only root can read; nodes ask for them when they pull. "
              "Needs an "
              "admin.",
          .commands = {
              {.name = "set",
               .group = Group::cluster,
               .summary = "Hand over this user's login for a registry",
               .arguments = {host,
                             option("--registry-auth", "FILE", &o->auth,
                                    "instead of docker's and podman's files"),
                             option("--registry-ca", "FILE", &o->ca, "the CA of the registry's certificate")},
               .examples = {{"rayctl registry set registry.local:5000 --registry-ca ca.pem",
                             "after 'rayctl login registry.local:5000'"}},
               .run = [o](const Globals& globals) { return set(globals, *o); }},
              {.name = "ls",
               .group = Group::cluster,
               .summary = "List the registries, without secrets",
               .examples = {{"rayctl registry ls", "what the nodes have a login or CA for"}},
               .run =
                   [](const Globals& globals) {
                     Json answer = connect(globals).request("registries", nlohmann::json::object());
                     for (const std::string& one : answer.at("registries").strings())
                       fmt::print("{}\n", printable(one));
                     return 0;
                   }},
              {.name = "rm",
               .group = Group::cluster,
               .summary = "Forget a registry's login",
               .arguments = {host},
               .examples = {{"rayctl registry rm registry.local:5000", "nodes pull without it from now on"}},
               .run =
                   [o](const Globals& globals) {
                     connect(globals).request("registry.rm", {{"host", o->host}});
                     fmt::print("{}\n", o->host);
                     return 0;
                   }},
          }};
}

}  // namespace rayctl::cli
