// What nodes report to the head and what the head tells of policy and cluster: read, or an Error; and what
// was read is read again the same.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/cluster.h"
#include "ray/report.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  if (size < 1) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  auto again = [](const nlohmann::json& json) { return Json::parse(json.dump(), "again"); };
  try {
    Json json = Json::parse(text, "message");
    switch (data[0] % 3) {
      case 0: {
        nlohmann::json once = to_json(ray::parse_node_report(json));
        if (to_json(ray::parse_node_report(again(once))) != once) __builtin_trap();
        break;
      }
      case 1: {
        nlohmann::json once = to_json(cluster::parse_policy(json));
        if (to_json(cluster::parse_policy(again(once))) != once) __builtin_trap();
        break;
      }
      default: {
        nlohmann::json once = to_json(cluster::parse_cluster(json));
        if (to_json(cluster::parse_cluster(again(once))) != once) __builtin_trap();
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
