#include "ray/unit_record.h"

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl::ray {

namespace {

constexpr const char* file_name = "unit.json";

UnitRecord parse_record(const Json& json) {
  UnitRecord r;
  r.id = json.at("id").string();
  r.unit = json.string_or("unit", "");
  r.key = json.at("key").string();
  r.image = json.at("image").string();
  r.command = json.at("command").string();
  r.address = json.at("address").string();
  r.created = cluster::WallTime(std::chrono::seconds(json.at("created").integer()));
  r.restarts = json.at("restarts").size();
  r.stopped = json.at("stopped").boolean();
  r.head_start = json.at("head_start").string();
  return r;
}

}  // namespace

std::string containers_directory(const Paths& paths) {
  return join(paths.state_dir, "containers");
}

std::string container_directory(const Paths& paths, const std::string& id) {
  return join(containers_directory(paths), id);
}

std::string image_hold(const std::string& id) {
  return "container-" + id.substr(0, 12);
}

std::vector<UnitRecord> load_units(const Paths& paths) {
  std::vector<UnitRecord> records;
  if (!exists(containers_directory(paths))) return records;
  for (const std::string& id : list_directory(containers_directory(paths))) {
    std::string path = join(container_directory(paths, id), file_name);
    std::optional<std::string> text = read_file_if_exists(path);
    if (!text) continue;
    try {
      records.push_back(parse_record(Json::parse(*text, path)));
    } catch (const Error& e) {
      warn("container {}: {}", id.substr(0, 12), e.message());
    }
  }
  return records;
}

std::optional<UnitRecord> load_unit(const Paths& paths, const std::string& unit) {
  std::optional<UnitRecord> newest;
  for (UnitRecord& record : load_units(paths))
    if (record.unit == unit && (!newest || record.created > newest->created)) newest = std::move(record);
  return newest;
}

void save_unit(const Paths& paths, const UnitRecord& r) {
  nlohmann::json json = {{"id", r.id},
                         {"unit", r.unit},
                         {"key", r.key},
                         {"image", r.image},
                         {"command", r.command},
                         {"address", r.address},
                         {"created", r.created.time_since_epoch().count()},
                         {"restarts", r.restarts},
                         {"stopped", r.stopped},
                         {"head_start", r.head_start}};
  replace_file(join(container_directory(paths, r.id), file_name), json.dump(2), 0600);
}

void describe(ContainerReport& report, const UnitRecord& record) {
  report.id = record.id;
  report.image = record.image;
  report.command = record.command;
  report.address = record.address;
  report.created = record.created;
  report.restarts = record.restarts;
}

std::string unit_key(const NodeConfig& config, RayNode ray, const std::string& image) {
  ray.worker_names.clear();  // a cluster that grows or shrinks doesn't restart its head
  nlohmann::json json = {
      {"image", image},
      {"role", cluster::role_name(ray.role)},
      {"address", ray.address},
      {"env", ray_environment(ray)},
      {"memory", ray.resources.memory},
      {"cpus", ray.resources.cpus},
      {"shm_size", ray.resources.shm_size},
      {"entrypoint", config.entrypoint ? nlohmann::json(*config.entrypoint) : nlohmann::json()}};
  return hex(sha256(json.dump()));
}

std::string plain_key(const RayNode& place, const PlainContainer& plain, const std::string& image) {
  nlohmann::json json = {
      {"image", image},           {"command", plain.command},         {"env", plain.env},
      {"address", place.address}, {"memory", place.resources.memory}, {"cpus", place.resources.cpus}};
  return hex(sha256(json.dump()));
}

}  // namespace rayctl::ray
