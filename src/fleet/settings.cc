#include "fleet/settings.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::fleet {

nlohmann::json to_json(const Settings& s) {
  nlohmann::json json = {{"control_port", s.control_port},
                         {"stuck_seconds", s.stuck.count()},
                         {"token_seconds", s.token_life.count()}};
  auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) json[key] = value;
  };
  auto put_list = [&](const char* key, const std::vector<std::string>& value) {
    if (!value.empty()) json[key] = value;
  };
  put("endpoint", s.endpoint);
  put("prices_file", s.prices_file);
  put("project", s.project);
  put("network", s.network);
  put_list("admin_cidrs", s.admin_cidrs);
  put("address_service", s.address_service);
  put("image", s.image);
  put("overlay", s.overlay);
  put("prefix", s.prefix);
  put("registry_auth", s.registry_auth);
  put("registry_ca", s.registry_ca);
  put_list("insecure_registries", s.insecure_registries);
  put_list("local_images", s.local_images);
  put("image_store", s.image_store);
  put("binary", s.binary);
  put("binary_url", s.binary_url);
  put("binary_sha256", s.binary_sha256);
  put("user_data_format", s.user_data_format);
  return json;
}

Settings parse_settings(const Json& json) {
  json.only({"endpoint",      "prices_file",      "project",      "network",
             "admin_cidrs",   "address_service",  "image",        "overlay",
             "prefix",        "registry_auth",    "registry_ca",  "insecure_registries",
             "local_images",  "image_store",      "binary",       "binary_url",
             "binary_sha256", "user_data_format", "control_port", "stuck_seconds",
             "token_seconds"});
  Settings s;
  s.endpoint = json.string_or("endpoint", "");
  s.prices_file = json.string_or("prices_file", "");
  s.project = json.string_or("project", "");
  s.network = json.string_or("network", "");
  s.admin_cidrs = json.strings_or_empty("admin_cidrs");
  s.address_service = json.string_or("address_service", "");
  s.image = json.string_or("image", "");
  s.overlay = json.string_or("overlay", "");
  s.prefix = json.string_or("prefix", "");
  s.registry_auth = json.string_or("registry_auth", "");
  s.registry_ca = json.string_or("registry_ca", "");
  s.insecure_registries = json.strings_or_empty("insecure_registries");
  s.local_images = json.strings_or_empty("local_images");
  s.image_store = json.string_or("image_store", "");
  s.binary = json.string_or("binary", "");
  s.binary_url = json.string_or("binary_url", "");
  s.binary_sha256 = json.string_or("binary_sha256", "");
  s.user_data_format = json.string_or("user_data_format", "");
  uint64_t port = json.size_or("control_port", s.control_port);
  if (port == 0 || port > 65535) throw Error("{}.control_port: {} is no port", json.path(), port);
  s.control_port = static_cast<uint16_t>(port);
  s.stuck = std::chrono::seconds(json.size_or("stuck_seconds", 300));
  s.token_life = std::chrono::seconds(json.size_or("token_seconds", 1800));
  return s;
}

}  // namespace rayctl::fleet
