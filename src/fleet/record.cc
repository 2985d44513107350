#include "fleet/record.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::fleet {

namespace {

constexpr std::string_view phase_names[] = {"wanted", "booted", "ending", "gone"};

Phase phase_by_name(const Json& json) {
  std::string name = json.string();
  for (size_t i = 0; i < std::size(phase_names); ++i)
    if (phase_names[i] == name) return static_cast<Phase>(i);
  throw Error("{}: '{}' is no phase of a machine", json.path(), name);
}

int64_t seconds(WallTime time) {
  return time.time_since_epoch().count();
}

WallTime time_or_zero(const Json& json, std::string_view key) {
  auto value = json.find(key);
  return value ? WallTime(std::chrono::seconds(value->integer())) : WallTime{};
}

std::optional<double> number_if_set(const Json& json, std::string_view key) {
  auto value = json.find(key);
  return value ? std::optional(value->number()) : std::nullopt;
}

void put(nlohmann::json& json, const char* key, const std::string& value) {
  if (!value.empty()) json[key] = value;
}

void put(nlohmann::json& json, const char* key, const std::optional<double>& value) {
  if (value) json[key] = *value;
}

void put(nlohmann::json& json, const char* key, WallTime value) {
  if (value != WallTime{}) json[key] = seconds(value);
}

}  // namespace

std::string_view name_of(Phase phase) {
  return phase_names[static_cast<size_t>(phase)];
}

std::string key_of(std::string_view uid, uint32_t number) {
  return fmt::format("rk{}-{}", uid, number);
}

bool key_has_uid(std::string_view key, std::string_view uid) {
  size_t size = uid.size() + 2;
  return key.size() > size + 1 && key.substr(0, 2) == "rk" && key.substr(2, uid.size()) == uid &&
         key[size] == '-';
}

std::optional<uint32_t> number_of_key(std::string_view key) {
  size_t dash = key.rfind('-');
  if (dash == std::string_view::npos || key.substr(0, 2) != "rk") return std::nullopt;
  uint32_t number = 0;
  const char* end = key.data() + key.size();
  auto result = std::from_chars(key.data() + dash + 1, end, number);
  if (result.ec != std::errc{} || result.ptr != end || number == 0) return std::nullopt;
  return number;
}

nlohmann::json to_json(const MachineRecord& r) {
  nlohmann::json json = {{"number", r.number}, {"key", r.key},           {"phase", name_of(r.phase)},
                         {"role", r.role},     {"provider", r.provider}, {"region", r.region},
                         {"sizes", r.sizes},   {"disk_gb", r.disk_gb},   {"spot", r.spot}};
  put(json, "zone", r.zone);
  put(json, "image", r.image);
  put(json, "max_price", r.max_price);
  put(json, "group", r.group);
  if (!r.labels.empty()) json["labels"] = r.labels;
  if (!r.ssh_keys.empty()) json["ssh_keys"] = r.ssh_keys;
  if (r.head) json["head"] = r.head;
  put(json, "user_data", r.user_data);
  put(json, "binary", r.binary);
  put(json, "size", r.size);
  put(json, "price_hour", r.price_hour);
  put(json, "id", r.id);
  if (r.listed) json["listed"] = true;
  put(json, "public_address", r.public_address);
  put(json, "private_address", r.private_address);
  put(json, "node", r.node);
  put(json, "node_name", r.node_name);
  put(json, "asked", r.asked);
  put(json, "launched", r.launched);
  put(json, "ended", r.ended);
  put(json, "error", r.error);
  if (r.refused) json["refused"] = true;
  put(json, "fate", r.fate);
  return json;
}

MachineRecord parse_machine_record(const Json& json) {
  MachineRecord r;
  uint64_t number = json.at("number").size(), disk = json.at("disk_gb").size();
  if (number == 0 || number > UINT32_MAX || disk > UINT32_MAX)
    throw Error("{}: a number is out of range", json.path());
  r.number = static_cast<uint32_t>(number);
  r.disk_gb = static_cast<unsigned>(disk);
  r.key = json.at("key").string();
  r.phase = phase_by_name(json.at("phase"));
  r.role = json.at("role").string();
  r.provider = json.at("provider").string();
  r.region = json.at("region").string();
  r.zone = json.string_or("zone", "");
  r.sizes = json.at("sizes").strings();
  r.image = json.string_or("image", "");
  r.spot = json.at("spot").boolean();
  r.max_price = number_if_set(json, "max_price");
  r.group = json.string_or("group", "");
  if (auto labels = json.find("labels")) r.labels = labels->string_map();
  r.ssh_keys = json.strings_or_empty("ssh_keys");
  r.head = static_cast<uint32_t>(json.size_or("head", 0));
  r.user_data = json.string_or("user_data", "");
  r.binary = json.string_or("binary", "");
  r.size = json.string_or("size", "");
  r.price_hour = number_if_set(json, "price_hour");
  r.id = json.string_or("id", "");
  r.listed = json.boolean_or("listed", false);
  r.public_address = json.string_or("public_address", "");
  r.private_address = json.string_or("private_address", "");
  r.node = json.string_or("node", "");
  r.node_name = json.string_or("node_name", "");
  r.asked = time_or_zero(json, "asked");
  r.launched = time_or_zero(json, "launched");
  r.ended = time_or_zero(json, "ended");
  r.error = json.string_or("error", "");
  r.refused = json.boolean_or("refused", false);
  r.fate = json.string_or("fate", "");
  return r;
}

}  // namespace rayctl::fleet
