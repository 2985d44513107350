// What the supervisor remembers of its container, beside the container's own files:
// containers/<id>/unit.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/paths.h"
#include "ray/container_plan.h"
#include "ray/report.h"

namespace rayctl::ray {

struct UnitRecord {
  std::string id;       // 64 hex digits
  std::string unit;     // which of the node's: "" = its own Ray, else the id of its assignment
  std::string key;      // of everything that made it: a container of another key is replaced
  std::string image;    // as named
  std::string command;  // "run head", for ps
  std::string address;
  cluster::WallTime created;
  uint64_t restarts = 0;
  bool stopped = false;    // by an operator: no restart until they say so
  std::string head_start;  // worker: the start of the head's Ray that it belongs to
};

std::string containers_directory(const Paths& paths);
std::string image_hold(const std::string& id);  // the name by which a container holds its image in the store
std::string container_directory(const Paths& paths, const std::string& id);

// Every record in the state directory. Damaged ones are skipped with a warning.
std::vector<UnitRecord> load_units(const Paths& paths);
// The newest of this unit; empty when there is none.
std::optional<UnitRecord> load_unit(const Paths& paths, const std::string& unit);
void save_unit(const Paths& paths, const UnitRecord& record);

// What a report says of the container, but for its state.
void describe(ContainerReport& report, const UnitRecord& record);

// Hex sha256 over what decides how the container is made.
std::string unit_key(const NodeConfig& config, RayNode ray, const std::string& image);
std::string plain_key(const RayNode& place, const PlainContainer& plain, const std::string& image);

}  // namespace rayctl::ray
