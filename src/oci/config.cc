#include "oci/config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"

namespace rayctl::oci {

namespace {

constexpr size_t most_layers = 4096;

std::set<std::string> key_set(const Json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.members()) keys.insert(key);
  return keys;
}

// What the known keys leave over, as JSON text.
std::map<std::string, std::string> others(const Json& object, const std::set<std::string_view>& known) {
  std::map<std::string, std::string> left;
  for (const auto& [key, value] : object.members())
    if (!known.contains(key)) left.emplace(key, value.raw().dump());
  return left;
}

Healthcheck parse_healthcheck(const Json& json) {
  Healthcheck check;
  check.test = json.strings_or_empty("Test");
  auto number = [&](std::string_view key) {
    auto found = json.find(key);
    return found ? found->integer() : 0;
  };
  check.interval = number("Interval");
  check.timeout = number("Timeout");
  check.start_period = number("StartPeriod");
  check.start_interval = number("StartInterval");
  check.retries = number("Retries");
  return check;
}

void parse_container_config(const Json& json, ImageConfig& config) {
  config.user = json.string_or("User", "");
  config.env = json.strings_or_empty("Env");
  config.entrypoint = json.strings_or_empty("Entrypoint");
  config.cmd = json.strings_or_empty("Cmd");
  config.workdir = json.string_or("WorkingDir", "");
  config.stop_signal = json.string_or("StopSignal", "");
  if (auto found = json.find("Labels")) config.labels = found->string_map();
  if (auto found = json.find("ExposedPorts")) config.exposed_ports = key_set(*found);
  if (auto found = json.find("Volumes")) config.volumes = key_set(*found);
  if (auto found = json.find("Healthcheck")) config.healthcheck = parse_healthcheck(*found);
  config.on_build = json.strings_or_empty("OnBuild");
  config.shell = json.strings_or_empty("Shell");
  config.other_config =
      others(json, {"User", "Env", "Entrypoint", "Cmd", "WorkingDir", "StopSignal", "Labels", "ExposedPorts",
                    "Volumes", "Healthcheck", "OnBuild", "Shell"});
}

History parse_history(const Json& json) {
  return {.created = json.string_or("created", ""),
          .created_by = json.string_or("created_by", ""),
          .author = json.string_or("author", ""),
          .comment = json.string_or("comment", ""),
          .empty_layer = json.boolean_or("empty_layer", false)};
}

using Writer = nlohmann::json;

template <class T>
void put(Writer& object, const char* key, const T& value) {
  if (!value.empty()) object[key] = value;
}

void put_number(Writer& object, const char* key, int64_t value) {
  if (value != 0) object[key] = value;
}

void put_keys(Writer& object, const char* key, const std::set<std::string>& keys) {
  for (const std::string& k : keys) object[key][k] = Writer::object();
}

void put_others(Writer& object, const std::map<std::string, std::string>& others) {
  for (const auto& [key, text] : others)
    if (!object.contains(key)) object[key] = Writer::parse(text);
}

Writer container_config_json(const ImageConfig& config) {
  Writer json = Writer::object();
  put(json, "User", config.user);
  put(json, "Env", config.env);
  put(json, "Entrypoint", config.entrypoint);
  put(json, "Cmd", config.cmd);
  put(json, "WorkingDir", config.workdir);
  put(json, "StopSignal", config.stop_signal);
  put(json, "Labels", config.labels);
  put_keys(json, "ExposedPorts", config.exposed_ports);
  put_keys(json, "Volumes", config.volumes);
  put(json, "OnBuild", config.on_build);
  put(json, "Shell", config.shell);
  if (config.healthcheck) {
    Writer check = Writer::object();
    put(check, "Test", config.healthcheck->test);
    put_number(check, "Interval", config.healthcheck->interval);
    put_number(check, "Timeout", config.healthcheck->timeout);
    put_number(check, "StartPeriod", config.healthcheck->start_period);
    put_number(check, "StartInterval", config.healthcheck->start_interval);
    put_number(check, "Retries", config.healthcheck->retries);
    json["Healthcheck"] = check;
  }
  put_others(json, config.other_config);
  return json;
}

Writer history_json(const History& entry) {
  Writer json = Writer::object();
  put(json, "created", entry.created);
  put(json, "created_by", entry.created_by);
  put(json, "author", entry.author);
  put(json, "comment", entry.comment);
  if (entry.empty_layer) json["empty_layer"] = true;
  return json;
}

}  // namespace

ImageConfig parse_config(std::string_view text) {
  Json json = Json::parse(text, "image config");
  ImageConfig config;
  config.platform = {.os = json.string_or("os", ""),
                     .architecture = json.string_or("architecture", ""),
                     .variant = json.string_or("variant", ""),
                     .os_version = json.string_or("os.version", ""),
                     .os_features = json.strings_or_empty("os.features")};
  config.created = json.string_or("created", "");
  config.author = json.string_or("author", "");
  if (auto found = json.find("config")) parse_container_config(*found, config);

  Json rootfs = json.at("rootfs");
  if (std::string type = rootfs.string_or("type", "layers"); type != "layers")
    throw Error("{}.type: expected 'layers', found '{}'", rootfs.path(), type);
  if (auto found = rootfs.find("diff_ids"))
    for (const Json& item : found->items()) config.diff_ids.push_back(Digest::parse(item.string()));
  if (config.diff_ids.size() > most_layers)
    throw Error("image config: {} layers, more than {}", config.diff_ids.size(), most_layers);
  if (auto found = json.find("history"))
    for (const Json& item : found->items()) config.history.push_back(parse_history(item));
  config.other = others(json, {"os", "architecture", "variant", "os.version", "os.features", "created",
                               "author", "config", "rootfs", "history"});
  return config;
}

std::string to_json(const ImageConfig& config) {
  Writer json = Writer::object();
  json["os"] = config.platform.os;
  json["architecture"] = config.platform.architecture;
  put(json, "variant", config.platform.variant);
  put(json, "os.version", config.platform.os_version);
  put(json, "os.features", config.platform.os_features);
  put(json, "created", config.created);
  put(json, "author", config.author);
  json["config"] = container_config_json(config);
  json["rootfs"]["type"] = "layers";
  json["rootfs"]["diff_ids"] = Writer::array();
  for (const Digest& d : config.diff_ids) json["rootfs"]["diff_ids"].push_back(d.string());
  for (const History& entry : config.history) json["history"].push_back(history_json(entry));
  put_others(json, config.other);
  return json.dump();
}

std::vector<Digest> chain_ids(const ImageConfig& config) {
  std::vector<Digest> chain;
  Digest last;
  for (const Digest& diff_id : config.diff_ids) chain.push_back(last = chain_id(last, diff_id));
  return chain;
}

std::optional<std::string> find_env(const ImageConfig& config, std::string_view name) {
  std::optional<std::string> value;
  for (std::string_view entry : config.env)
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      value = entry.substr(name.size() + 1);
  return value;
}

}  // namespace rayctl::oci
