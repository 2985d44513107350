// What a node says of itself: its stage, its container, its size. Travels from workers to the head and to the
// CLI.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "ray/node_config.h"

namespace rayctl::ray {

// How far a node is. Each stage but the last two is passed on the way to `healthy`.
enum class Stage { joining, pulling, creating, starting_ray, healthy, unhealthy, failed, stopped };
std::string_view stage_name(Stage stage);  // "joining", "pulling", "creating", "starting Ray", …

enum class ContainerState { created, running, exited, restarting, stopped };
std::string_view state_name(ContainerState state);

struct ContainerReport {
  std::string id;       // 64 hex digits; people see the first 12
  std::string name;     // "ray"; with the node's name in front it is unique in the cluster
  std::string image;    // as it was named
  std::string command;  // "run head"
  std::string address;
  ContainerState state = ContainerState::created;
  bool healthy = false;
  bool checked = true;  // its health is looked at: Ray's is, others' isn't
  cluster::WallTime created, started, finished;
  std::optional<int> exit_code = {};
  bool oom_killed = false;
  uint64_t restarts = 0;
  int64_t pid = 0;
};

// A stage that was passed on the way to the first `healthy`.
struct BootStage {
  Stage stage = Stage::joining;
  cluster::WallTime since;
};
constexpr size_t max_boot_stages = 24;  // a node that fails again and again keeps the first ones

struct NodeReport {
  Stage stage = Stage::joining;
  cluster::WallTime since;
  std::string detail;    // "43 %"
  std::string error;     // the last one; empty when all is well
  std::string log_tail;  // the last lines of a container that failed
  std::optional<ContainerReport> container = {};
  std::vector<ContainerReport> others = {};  // further ones of a deployment
  uint64_t memory = 0, shm_size = 0;         // bytes
  double cpus = 0;
  std::string rayctl_version;
  std::vector<std::string> ssh_host_keys = {};  // host_facts()'s
  std::string login = {}, instance = {};
  cluster::WallTime machine_started;  // the kernel's start
  std::vector<BootStage> boot = {};   // since the supervisor's start
};

// Of a node or unit that begins now.
NodeReport fresh_report(const Resources& resources);
// Notes a change of stage, and since when; while it comes up also in its boot log.
void note_stage(NodeReport& report, Stage stage);

nlohmann::json to_json(const ContainerReport& report);
nlohmann::json to_json(const NodeReport& report);
ContainerReport parse_container_report(const Json& json);
NodeReport parse_node_report(const Json& json);

// A container together with where it runs: a row of `ps`.
struct PlacedContainer {
  std::string node;  // "ray-wk-0"
  cluster::MemberRole role = cluster::MemberRole::worker;
  ContainerReport container;
};

// "installing 31s, joining 2s, pulling 14s, starting Ray 5s, healthy": what each stage took; the one that
// lasts has its age. Installing is what came before the supervisor on a machine that was just started.
std::string describe_boot(const NodeReport& report, cluster::WallTime now);

// docker's words: "Up 2 minutes (healthy)", "Exited (1) 5 seconds ago", "Restarting (1) 5 seconds ago".
std::string describe_status(const ContainerReport& report, cluster::WallTime now);
std::string describe_age(int64_t seconds);  // docker's: "Less than a second", "About a minute", "3 hours"

// The one container that `target` names: an id prefix, a node's name ("ray-wk-0", also with ".q"),
// "NODE/NAME", or "head". Throws when there is none, or several.
const PlacedContainer& find_container(const std::vector<PlacedContainer>& all, std::string_view target);

}  // namespace rayctl::ray
