// What an operator's computer keeps of a cluster, and the head's answers to it: the first byte picks the
// kind. What is read is written again, and read to the same.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "fleet/head.h"
#include "fleet/ledger.h"
#include "fleet/settings.h"
#include "fleet/view.h"

namespace {

void same(const std::string& one, const std::string& two) {
  if (one != two) abort();
}

void read(uint8_t kind, const std::string& text) {
  using namespace rayctl;
  if (kind == 0) {
    fleet::LedgerData data = fleet::parse_ledger(text, "ray");
    std::string written = fleet::to_text(data);
    same(written, fleet::to_text(fleet::parse_ledger(written, "ray")));
    return;
  }
  Json json = Json::parse(text, "input");
  if (kind == 1) {
    std::string written = to_json(fleet::parse_settings(json)).dump();
    same(written, to_json(fleet::parse_settings(Json::parse(written, "again"))).dump());
  } else if (kind == 2) {
    fleet::ClusterLook look = fleet::parse_look(json);
    std::string written = to_json(look).dump();
    same(written, to_json(fleet::parse_look(Json::parse(written, "again"))).dump());
    fleet::sort_machines(look.machines);
    for (const fleet::MachineView& machine : look.machines) fleet::machine_line(machine);
    for (const fleet::ContainerView& container : look.containers) fleet::container_line(container);
    fleet::cluster_line(look);
  } else {
    fleet::parse_nodes(json);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  try {
    read(data[0] % 4, std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  } catch (const rayctl::Error&) {
  }
  return 0;
}
