// Where users keep what they log in with: docker's config.json and podman's auth.json, and credential
// helpers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/auth.h"

namespace rayctl::oci {

// What one file says about a registry.
struct StoredLogin {
  Credentials credentials = {};
  std::string helper = {};  // "docker-credential-X" is to be asked instead
  std::string server = {};  // by this name
};

// Reads a config file's text; `name` is for errors. `repository` finds entries for a part of a registry
// (containers-auth.json(5)). credHelpers wins over credsStore over auths.
std::optional<StoredLogin> find_login(std::string_view text, const std::string& name,
                                      const std::string& registry, std::string_view repository);

// The files in the order of looking: `auth_file` alone when given, else $REGISTRY_AUTH_FILE,
// $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, $DOCKER_CONFIG/config.json
// (~/.docker).
std::vector<std::string> auth_files(const std::string& auth_file);

Credentials find_credentials(const std::string& registry, std::string_view repository,
                             const std::string& auth_file);

// Writes to `auth_file`, else $REGISTRY_AUTH_FILE, else docker's config.json; a helper that the file names
// keeps the secret instead. Returns the place, for a message.
std::string store_credentials(const std::string& registry, const Credentials& credentials,
                              const std::string& auth_file);
bool remove_credentials(const std::string& registry, const std::string& auth_file);  // false: there were none

// What the file's text becomes; pure halves of the two above. The rest of the file stays as it is.
std::string with_login(std::string_view text, const std::string& name, const std::string& registry,
                       const Credentials& credentials);
std::optional<std::string> without_login(std::string_view text, const std::string& name,
                                         const std::string& registry);

}  // namespace rayctl::oci
