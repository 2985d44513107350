#include "ray/registries.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/cluster_state.h"
#include "oci/reference.h"

namespace rayctl::ray {

namespace {

constexpr size_t max_file = 4 << 20, max_registries = 200, max_secret = 16 << 10, max_ca = 64 << 10;

void check_host(const std::string& host) {
  if (!oci::is_registry(host))
    throw Error("cannot keep a login for '{}': not a registry's HOST[:PORT]", printable(host.substr(0, 100)));
}

}  // namespace

nlohmann::json to_json(const RegistryAccess& access) {
  nlohmann::json json = {{"ca", access.ca}};
  if (access.credentials) {
    json["username"] = access.credentials->username;
    json["password"] = access.credentials->password;
    json["identity_token"] = access.credentials->identity_token;
  }
  return json;
}

RegistryAccess parse_registry_access(const Json& json) {
  auto text = [&](const char* key, size_t most) {
    std::string value = json.string_or(key, "");
    if (value.size() > most) throw Error("{}.{}: longer than {} bytes", json.path(), key, most);
    return value;
  };
  RegistryAccess access;
  access.ca = text("ca", max_ca);
  oci::Credentials login{.username = text("username", max_secret),
                         .password = text("password", max_secret),
                         .identity_token = text("identity_token", max_secret)};
  if (!login.empty()) access.credentials = login;
  return access;
}

Registries::Registries(const Paths& paths)
    : path_(join(cluster::cluster_directory(paths), "registries.json")) {}

nlohmann::json Registries::load() const {
  auto text = read_file_if_exists(path_, max_file);
  return text ? Json::parse(*text, path_).raw() : nlohmann::json::object();
}

void Registries::save(const nlohmann::json& all) const {
  replace_file(path_, all.dump() + "\n", 0600);
}

std::optional<RegistryAccess> Registries::find(const std::string& host) const {
  nlohmann::json all = load();
  if (!all.contains(host)) return std::nullopt;
  return parse_registry_access(Json::parse(all.at(host).dump(), path_));
}

std::vector<std::string> Registries::hosts() const {
  std::vector<std::string> hosts;
  nlohmann::json all = load();
  for (const auto& [host, access] : all.items()) hosts.push_back(host);
  return hosts;
}

void Registries::set(const std::string& host, const RegistryAccess& access) {
  check_host(host);
  nlohmann::json all = load();
  if (!all.contains(host) && all.size() >= max_registries)
    throw Error("cannot keep a login for '{}': there are {} already", host, all.size());
  all[host] = to_json(access);
  save(all);
}

void Registries::remove(const std::string& host) {
  nlohmann::json all = load();
  if (all.erase(host) == 0)
    throw Error("cannot forget the login for '{}': there is none (rayctl registry ls)", printable(host));
  save(all);
}

void register_registry_requests(cluster::RequestTable& requests, const Paths& paths) {
  using cluster::Access, cluster::Request, cluster::ChannelPtr;
  requests.on("registry.set", Access::admin, [paths](const Request& request, const ChannelPtr& channel) {
    std::string host = request.body.at("host").string();
    Registries(paths).set(host, parse_registry_access(request.body));
    info("the login for registry '{}' was set by {}", host, request.peer.label);
    channel->respond(nlohmann::json::object());
  });
  requests.on("registry.rm", Access::admin, [paths](const Request& request, const ChannelPtr& channel) {
    Registries(paths).remove(request.body.at("host").string());
    channel->respond(nlohmann::json::object());
  });
  requests.on("registries", Access::admin, [paths](const Request&, const ChannelPtr& channel) {
    channel->respond({{"registries", Registries(paths).hosts()}});
  });
  requests.on("registry.get", Access::node, [paths](const Request& request, const ChannelPtr& channel) {
    auto access = Registries(paths).find(request.body.at("host").string());
    channel->respond(access ? to_json(*access) : nlohmann::json::object());
  });
}

}  // namespace rayctl::ray
