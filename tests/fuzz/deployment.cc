// A deployment's JSON: any text gives a deployment, which round-trips and can be placed, or an Error.
#include "stitch/deployment.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "stitch/schedule.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl::stitch;
  try {
    Deployment deployment = deployment_from_json({reinterpret_cast<const char*>(data), size}, "d");
    std::string text = to_json(deployment).dump();
    if (to_json(deployment_from_json(text, "d")).dump() != text) __builtin_trap();
    std::vector<Host> hosts{{.name = "m", .role = master_role}, {.name = "a", .role = worker_role}};
    Schedule first = schedule(deployment, hosts, {});
    if (first.assigned.size() + first.unplaced.size() != deployment.containers.size()) __builtin_trap();
    // What has its place keeps it.
    Schedule again = schedule(deployment, hosts, first.assigned);
    for (const auto& [container, host] : first.assigned)
      if (again.assigned.count(container) == 0) __builtin_trap();
  } catch (const rayctl::Error&) {
  }
  return 0;
}
