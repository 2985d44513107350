// The deployment's JSON: one record type per reader and writer, in the order of the documented schema.
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "stitch/deployment.h"

namespace rayctl::stitch {

namespace {

using Ordered = nlohmann::ordered_json;

uint32_t number32(const Json& json) {
  uint64_t value = json.size();
  if (value > UINT32_MAX) throw Error("{}: {} is too large", json.path(), value);
  return static_cast<uint32_t>(value);
}

uint16_t port(const Json& json) {
  uint64_t value = json.size();
  if (value > 65535) throw Error("{}: {} is no port", json.path(), value);
  return static_cast<uint16_t>(value);
}

Position position(const Json& json) {
  auto found = json.find("at");
  if (!found) return {};
  std::string text = found->string();
  Position at;
  uint32_t numbers[2] = {0, 0};
  size_t end = text.size();
  int count = 0;
  for (; count < 2; ++count) {  // from the right: a file's name may hold colons
    size_t colon = text.rfind(':', end == 0 ? 0 : end - 1);
    if (colon == std::string::npos || colon + 1 >= end) break;
    uint32_t value = 0;
    auto [stop, error] = std::from_chars(text.data() + colon + 1, text.data() + end, value);
    if (error != std::errc{} || stop != text.data() + end) break;
    numbers[count] = value;
    end = colon;
  }
  at.file = text.substr(0, end);
  at.line = count == 2 ? numbers[1] : numbers[0];
  at.column = count == 2 ? numbers[0] : 0;
  return at;
}

void put(Ordered& json, const Position& at) {
  if (at.line) json["at"] = to_string(at);
}

std::string text(const Json& json, std::string_view key) {
  std::string value = json.string_or(key, "");
  if (value.find('\0') != std::string::npos) throw Error("{}.{}: it has a zero byte", json.path(), key);
  return value;
}

Range range(const Json& json, std::string_view key) {
  auto found = json.find(key);
  if (!found) return {};
  found->only({"min", "max"});
  Range value;
  if (auto min = found->find("min")) value.min = min->number();
  if (auto max = found->find("max")) value.max = max->number();
  return value;
}

void put(Ordered& json, const char* key, const Range& range) {
  if (range == Range{}) return;
  Ordered value;
  value["min"] = range.min;
  if (range.max > 0) value["max"] = range.max;
  json[key] = value;
}

void put(Ordered& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

Machine machine(const Json& json) {
  json.only({"id", "role", "provider", "region", "size", "disk_gb", "cpu", "ram", "ssh_keys", "github_keys",
             "spot", "image", "gpu", "group", "labels", "idle_timeout_s", "at"});
  Machine value;
  value.id = number32(json.at("id"));
  value.role = text(json, "role");
  value.provider = text(json, "provider");
  value.region = text(json, "region");
  value.size = text(json, "size");
  if (auto disk = json.find("disk_gb")) value.disk_gb = number32(*disk);
  value.cpu = range(json, "cpu");
  value.ram = range(json, "ram");
  value.ssh_keys = json.strings_or_empty("ssh_keys");
  value.github_keys = json.strings_or_empty("github_keys");
  value.spot = json.boolean_or("spot", false);
  value.image = text(json, "image");
  if (auto gpu = json.find("gpu")) {
    gpu->only({"type", "count"});
    value.gpu.type = text(*gpu, "type");
    value.gpu.count = number32(gpu->at("count"));
  }
  value.group = text(json, "group");
  if (auto labels = json.find("labels")) value.labels = labels->string_map();
  if (auto idle = json.find("idle_timeout_s")) value.idle_timeout = std::chrono::seconds(number32(*idle));
  value.at = position(json);
  return value;
}

Ordered write(const Machine& machine) {
  Ordered json;
  json["id"] = machine.id;
  put(json, "role", machine.role);
  put(json, "provider", machine.provider);
  put(json, "region", machine.region);
  put(json, "size", machine.size);
  json["disk_gb"] = machine.disk_gb;
  put(json, "cpu", machine.cpu);
  put(json, "ram", machine.ram);
  if (!machine.ssh_keys.empty()) json["ssh_keys"] = machine.ssh_keys;
  if (!machine.github_keys.empty()) json["github_keys"] = machine.github_keys;
  if (machine.spot) json["spot"] = true;
  put(json, "image", machine.image);
  if (machine.gpu.count) {
    Ordered gpu;
    put(gpu, "type", machine.gpu.type);
    gpu["count"] = machine.gpu.count;
    json["gpu"] = gpu;
  }
  put(json, "group", machine.group);
  if (!machine.labels.empty()) json["labels"] = machine.labels;
  if (machine.idle_timeout) json["idle_timeout_s"] = machine.idle_timeout->count();
  put(json, machine.at);
  return json;
}

Container container(const Json& json) {
  json.only({"id", "image", "command", "env", "at"});
  Container value;
  value.id = number32(json.at("id"));
  value.image = json.at("image").string();
  value.command = json.strings_or_empty("command");
  for (const std::string& word : value.command)
    if (word.find('\0') != std::string::npos) throw Error("{}.command: it has a zero byte", json.path());
  if (auto env = json.find("env")) value.env = env->string_map();
  value.at = position(json);
  return value;
}

Ordered write(const Container& container) {
  Ordered json;
  json["id"] = container.id;
  json["image"] = container.image;
  if (!container.command.empty()) json["command"] = container.command;
  if (!container.env.empty()) json["env"] = container.env;
  put(json, container.at);
  return json;
}

Label label(const Json& json) {
  json.only({"name", "members", "annotations", "at"});
  Label value;
  value.name = json.at("name").string();
  if (auto members = json.find("members"))
    for (const Json& member : members->items()) value.members.push_back(number32(member));
  value.annotations = json.strings_or_empty("annotations");
  value.at = position(json);
  return value;
}

Ordered write(const Label& label) {
  Ordered json;
  json["name"] = label.name;
  json["members"] = label.members;
  if (!label.annotations.empty()) json["annotations"] = label.annotations;
  put(json, label.at);
  return json;
}

Connection connection(const Json& json) {
  json.only({"from", "to", "min_port", "max_port", "at"});
  Connection value;
  value.from = json.at("from").string();
  value.to = json.at("to").string();
  value.min_port = port(json.at("min_port"));
  auto max = json.find("max_port");
  value.max_port = max ? port(*max) : value.min_port;
  value.at = position(json);
  return value;
}

Ordered write(const Connection& connection) {
  Ordered json;
  json["from"] = connection.from;
  json["to"] = connection.to;
  json["min_port"] = connection.min_port;
  json["max_port"] = connection.max_port;
  put(json, connection.at);
  return json;
}

Placement placement(const Json& json) {
  json.only({"target", "rule", "label", "provider", "region", "size", "at"});
  Placement value;
  value.target = json.at("target").string();
  Json rule = json.at("rule");
  if (rule.string() != "exclusive" && rule.string() != "on")
    throw Error("{}: '{}' is not 'exclusive' or 'on'", rule.path(), rule.string());
  value.exclusive = rule.string() == "exclusive";
  value.other_label = text(json, "label");
  value.provider = text(json, "provider");
  value.region = text(json, "region");
  value.size = text(json, "size");
  value.at = position(json);
  return value;
}

Ordered write(const Placement& placement) {
  Ordered json;
  json["target"] = placement.target;
  json["rule"] = placement.exclusive ? "exclusive" : "on";
  put(json, "label", placement.other_label);
  put(json, "provider", placement.provider);
  put(json, "region", placement.region);
  put(json, "size", placement.size);
  put(json, placement.at);
  return json;
}

Invariant invariant(const Json& json) {
  json.only({"form", "holds", "labels", "at"});
  Invariant value;
  value.form = json.at("form").string();
  value.holds = json.boolean_or("holds", true);
  value.labels = json.strings_or_empty("labels");
  value.at = position(json);
  return value;
}

Ordered write(const Invariant& invariant) {
  Ordered json;
  json["form"] = invariant.form;
  json["holds"] = invariant.holds;
  if (!invariant.labels.empty()) json["labels"] = invariant.labels;
  put(json, invariant.at);
  return json;
}

template <class T>
void read_all(const Json& json, std::string_view key, std::vector<T>& into, T (*read)(const Json&)) {
  if (auto list = json.find(key))
    for (const Json& item : list->items()) into.push_back(read(item));
}

template <class T>
void write_all(Ordered& json, const char* key, const std::vector<T>& from) {
  Ordered list = Ordered::array();
  for (const T& item : from) list.push_back(write(item));
  json[key] = std::move(list);
}

}  // namespace

Deployment deployment_from_json(std::string_view text_of_it, const std::string& name) {
  Json json = Json::parse(text_of_it, name, 16);
  json.only({"namespace", "admin_acl", "max_price", "egress", "metadata_access", "machines", "containers",
             "labels", "connections", "placements", "invariants"});
  Deployment deployment;
  deployment.name_space = json.string_or("namespace", default_namespace);
  deployment.admin_acl = json.strings_or_empty("admin_acl");
  if (auto price = json.find("max_price")) deployment.max_price = price->number();
  std::string egress = json.string_or("egress", "open");
  if (auto known = egress_named(egress))
    deployment.egress = *known;
  else
    throw Error("{}.egress: '{}' is neither open nor declared", json.path(), printable(egress));
  deployment.metadata_access = json.strings_or_empty("metadata_access");
  read_all(json, "machines", deployment.machines, machine);
  read_all(json, "containers", deployment.containers, container);
  read_all(json, "labels", deployment.labels, label);
  read_all(json, "connections", deployment.connections, connection);
  read_all(json, "placements", deployment.placements, placement);
  read_all(json, "invariants", deployment.invariants, invariant);
  try {
    verify(deployment);
  } catch (Error& e) {
    e.prefix("{}", name);
    throw;
  }
  complete(deployment);
  return deployment;
}

nlohmann::ordered_json to_json(const Deployment& deployment) {
  Ordered json;
  json["namespace"] = deployment.name_space;
  json["admin_acl"] = deployment.admin_acl;
  if (deployment.max_price > 0) json["max_price"] = deployment.max_price;
  if (deployment.egress != Egress::open) json["egress"] = egress_name(deployment.egress);
  if (!deployment.metadata_access.empty()) json["metadata_access"] = deployment.metadata_access;
  write_all(json, "machines", deployment.machines);
  write_all(json, "containers", deployment.containers);
  write_all(json, "labels", deployment.labels);
  write_all(json, "connections", deployment.connections);
  write_all(json, "placements", deployment.placements);
  if (!deployment.invariants.empty()) write_all(json, "invariants", deployment.invariants);
  return json;
}

}  // namespace rayctl::stitch
