// The documents that cross a control stream: any of them is read or is an Error, and what was read is read
// again the same.
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/membership.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  using namespace rayctl::cluster;
  if (size < 1) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  auto again = [](const nlohmann::json& json) { return Json::parse(json.dump(), "again"); };
  try {
    Json json = Json::parse(text, "message");
    switch (data[0] % 5) {
      case 0: {
        nlohmann::json once = to_json(parse_facts(json));
        if (to_json(parse_facts(again(once))) != once) __builtin_trap();
        break;
      }
      case 1: {
        Delta delta = parse_delta(json);
        ClusterView view;
        view.version = delta.from;
        apply(view, delta);
        names(view);
        if (to_json(parse_view(again(to_json(view)))) != to_json(view)) __builtin_trap();
        break;
      }
      case 2: {
        ClusterView view = parse_view(json);
        names(view);
        find_node(view, "a");
        break;
      }
      case 3: {
        nlohmann::json once = to_json(parse_token_record(json));
        if (to_json(parse_token_record(again(once))) != once) __builtin_trap();
        break;
      }
      case 4: {
        // What a node says of itself goes through the state machine.
        Cluster cluster;
        cluster.pool = "10.64.0.0/24";
        Membership members(cluster, {});
        Now now{};
        members.arrive(parse_facts(json), now);
        if (auto given = json.find("names")) members.set_names(json.at("id").string(), given->string_map());
        delta_since(members, 0, 10);
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
