#include "oci/credentials.h"

#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr const char* hub = "docker.io";
constexpr const char* hub_key = "https://index.docker.io/v1/";  // docker's own key for Docker Hub

// The names under which tools store one registry, the best first.
std::vector<std::string> keys_of(const std::string& registry, std::string_view repository) {
  std::vector<std::string> keys;
  std::string path = registry + "/" + std::string(repository);
  for (size_t slash = path.size(); slash != std::string::npos && slash > registry.size();
       slash = path.rfind('/', slash - 1))
    if (!repository.empty()) keys.push_back(path.substr(0, slash));
  if (registry == hub) {
    keys.insert(keys.end(),
                {hub_key, hub, "index.docker.io", "https://index.docker.io/v1", "registry-1.docker.io"});
  } else {
    keys.insert(keys.end(),
                {registry, "https://" + registry, "https://" + registry + "/", "https://" + registry + "/v1/",
                 "https://" + registry + "/v2/", "http://" + registry, "http://" + registry + "/v1/"});
  }
  return keys;
}

std::string own_key(const std::string& registry) {
  return registry == hub ? hub_key : registry;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_helper_name(std::string_view name) {
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
             std::string_view::npos;
}

Credentials parse_entry(const Json& entry) {
  Credentials c{.identity_token = entry.string_or("identitytoken", ""),
                .registry_token = entry.string_or("registrytoken", "")};
  std::string auth = entry.string_or("auth", "");
  if (!auth.empty()) {
    auto plain = from_base64(auth);
    size_t colon = plain ? plain->find(':') : std::string::npos;
    if (colon == std::string::npos) throw Error("{}.auth: not base64 of USER:PASSWORD", entry.path());
    c.username = plain->substr(0, colon);
    c.password = plain->substr(colon + 1);
    while (!c.password.empty() && c.password.back() == '\0') c.password.pop_back();  // docker pads with them
  } else {
    c.username = entry.string_or("username", "");
    c.password = entry.string_or("password", "");
  }
  return c;
}

Output run_helper(const std::string& helper, const char* verb, const std::string& input) {
  if (!is_helper_name(helper))
    throw Error("cannot ask credential helper '{}': not a plain name", printable(helper));
  return run_captured({.argv = {"docker-credential-" + helper, verb}}, input);
}

Credentials ask_helper(const std::string& helper, const std::string& server) {
  Output output;
  try {
    output = run_helper(helper, "get", server);
  } catch (const Error& e) {  // a public image needs no login: a helper that isn't installed must not stop it
    warn("going on without a login: {}", e.message());
    return {};
  }
  if (!output.exit.success()) {
    // "credentials not found in native keychain" is an answer, and comes on stdout
    if (output.out.find("not found") != std::string::npos) return {};
    throw Error("cannot ask credential helper 'docker-credential-{}': {} {}", helper, describe(output.exit),
                printable(trim(output.err.empty() ? output.out : output.err)));
  }
  Json json = Json::parse(output.out, "docker-credential-" + helper, 8);
  std::string username = json.string_or("Username", ""), secret = json.string_or("Secret", "");
  if (username == "<token>") return {.identity_token = secret};
  return {.username = username, .password = secret};
}

std::string writable_file(const std::string& auth_file) {
  if (!auth_file.empty()) return auth_file;
  if (std::string file = environment("REGISTRY_AUTH_FILE"); !file.empty()) return file;
  if (std::string dir = environment("DOCKER_CONFIG"); !dir.empty()) return join(dir, "config.json");
  std::string home = environment("HOME");
  if (home.empty()) throw Error("cannot find a place for the login: HOME is not set");
  return join(home, ".docker/config.json");
}

std::string helper_in(std::string_view text, const std::string& name, const std::string& registry) {
  if (trim(text).empty()) return "";
  Json json = Json::parse(text, name);
  if (auto helpers = json.find("credHelpers"))
    for (const std::string& key : keys_of(registry, ""))
      if (auto helper = helpers->find(key)) return helper->string();
  return json.string_or("credsStore", "");
}

}  // namespace

std::optional<StoredLogin> find_login(std::string_view text, const std::string& name,
                                      const std::string& registry, std::string_view repository) {
  if (trim(text).empty()) return std::nullopt;
  Json json = Json::parse(text, name);
  std::vector<std::string> keys = keys_of(registry, repository);
  if (auto helpers = json.find("credHelpers"))
    for (const std::string& key : keys)
      if (auto helper = helpers->find(key)) return StoredLogin{.helper = helper->string(), .server = key};
  if (std::string helper = json.string_or("credsStore", ""); !helper.empty())
    return StoredLogin{.helper = helper, .server = own_key(registry)};
  if (auto auths = json.find("auths"))
    for (const std::string& key : keys)
      if (auto entry = auths->find(key)) {
        Credentials c = parse_entry(*entry);
        if (!c.empty()) return StoredLogin{.credentials = c};
      }
  return std::nullopt;
}

std::vector<std::string> auth_files(const std::string& auth_file) {
  if (!auth_file.empty()) return {auth_file};
  std::vector<std::string> files;
  if (std::string file = environment("REGISTRY_AUTH_FILE"); !file.empty()) files.push_back(file);
  if (std::string dir = environment("XDG_RUNTIME_DIR"); !dir.empty())
    files.push_back(join(dir, "containers/auth.json"));
  std::string home = environment("HOME");
  if (!home.empty()) files.push_back(join(home, ".config/containers/auth.json"));
  if (std::string dir = environment("DOCKER_CONFIG"); !dir.empty())
    files.push_back(join(dir, "config.json"));
  else if (!home.empty())
    files.push_back(join(home, ".docker/config.json"));
  return files;
}

Credentials find_credentials(const std::string& registry, std::string_view repository,
                             const std::string& auth_file) {
  for (const std::string& file : auth_files(auth_file)) {
    std::string text;
    if (!auth_file.empty()) {
      text = read_file(file);  // named by the user: it must be there
    } else if (auto found = read_file_if_exists(file)) {
      text = std::move(*found);
    }
    auto login = find_login(text, file, registry, repository);
    if (!login) continue;
    Credentials c = login->helper.empty() ? login->credentials : ask_helper(login->helper, login->server);
    if (!c.empty()) return c;
  }
  return {};
}

std::string with_login(std::string_view text, const std::string& name, const std::string& registry,
                       const Credentials& credentials) {
  nlohmann::json json = nlohmann::json::object();
  if (!trim(text).empty()) json = Json::parse(text, name).raw();
  if (!json.is_object()) throw Error("{}: expected an object", name);
  nlohmann::json entry;
  if (!credentials.username.empty())
    entry["auth"] = to_base64(credentials.username + ":" + credentials.password);
  if (!credentials.identity_token.empty()) entry["identitytoken"] = credentials.identity_token;
  json["auths"][own_key(registry)] = entry;
  return json.dump(2) + "\n";
}

std::optional<std::string> without_login(std::string_view text, const std::string& name,
                                         const std::string& registry) {
  if (trim(text).empty()) return std::nullopt;
  nlohmann::json json = Json::parse(text, name).raw();
  bool removed = false;
  if (json.is_object() && json.contains("auths") && json["auths"].is_object())
    for (const std::string& key : keys_of(registry, "")) removed |= json["auths"].erase(key) > 0;
  return removed ? std::optional(json.dump(2) + "\n") : std::nullopt;
}

std::string store_credentials(const std::string& registry, const Credentials& credentials,
                              const std::string& auth_file) {
  std::string file = writable_file(auth_file);
  std::string text = read_file_if_exists(file).value_or("");
  if (std::string helper = helper_in(text, file, registry); !helper.empty()) {
    nlohmann::json entry{
        {"ServerURL", own_key(registry)},
        {"Username", credentials.username.empty() ? "<token>" : credentials.username},
        {"Secret", credentials.username.empty() ? credentials.identity_token : credentials.password}};
    Output output = run_helper(helper, "store", entry.dump());
    if (!output.exit.success())
      throw Error("cannot store the login by 'docker-credential-{}': {} {}", helper, describe(output.exit),
                  printable(trim(output.err.empty() ? output.out : output.err)));
    return "docker-credential-" + helper;
  }
  if (size_t slash = file.rfind('/'); slash != std::string::npos && slash > 0)
    make_directories(file.substr(0, slash), 0700);
  replace_file(file, with_login(text, file, registry, credentials), 0600);
  return file;
}

bool remove_credentials(const std::string& registry, const std::string& auth_file) {
  bool removed = false;
  for (const std::string& file : auth_file.empty() ? auth_files("") : std::vector<std::string>{auth_file}) {
    auto text = read_file_if_exists(file);
    if (!text) continue;
    if (std::string helper = helper_in(*text, file, registry); !helper.empty())
      removed |= run_helper(helper, "erase", own_key(registry)).exit.success();
    if (auto left = without_login(*text, file, registry)) {
      replace_file(file, *left, 0600);
      removed = true;
    }
  }
  return removed;
}

}  // namespace rayctl::oci
