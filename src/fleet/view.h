// How a cluster looks right now: its machines with their stages, for people and for scripts. The owner of the
// cluster writes it down (view.json), everyone else reads it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "fleet/cost.h"
#include "fleet/record.h"

namespace rayctl::fleet {

// How far a machine is. From `pulling` on the node says so itself, by its report.
enum class Stage {
  requested,
  booting,
  installing,
  joining,
  joined,
  pulling,
  creating,
  starting_ray,
  healthy,
  unhealthy,
  failed,
  ending
};
std::string_view name_of(Stage stage);  // "requested", …, "starting Ray"
// A node's own word for it, as its report has it; empty for one that isn't known.
std::optional<Stage> stage_by_name(std::string_view name);

struct MachineView {
  MachineRecord record;
  Stage stage = Stage::requested;
  WallTime since{};
  std::string detail;      // "43 %"
  std::string error;       // the last one
  std::string console;     // the last lines of it, of one that is stuck
  bool connected = false;  // joined over mutual TLS
  std::string login;       // who may log in there; empty: not known
};

// A container of the deployment, where it runs.
struct ContainerView {
  uint32_t number = 0;  // "Container-5"
  std::string image, command;
  std::string id;        // 64 hex digits
  uint32_t machine = 0;  // number; 0 = not known
  std::string node;      // "ray-wk-0"
  std::string minion;    // the machine's private address
  std::string stitch_id;
  std::string address, mac;
  std::vector<std::string> labels;
  std::map<std::string, std::string> env;
  std::string status;  // "Up 2 minutes (healthy)"
};

// Where the cluster stands as a whole.
enum class Progress { starting, waiting, healthy, degraded, blocked, ending, ended };
std::string_view name_of(Progress progress);

struct ClusterLook {
  std::string name;              // namespace
  std::vector<std::string> acl;  // as rules: CIDRs
  Progress progress = Progress::starting;
  std::string missing;       // what keeps it from being healthy
  std::string error;         // of the last round, e.g. a cloud that refuses
  std::string head_address;  // where operators reach it
  std::vector<std::string> remarks;
  std::vector<MachineView> machines;  // without those that are gone; in no order
  std::vector<ContainerView> containers;
  Cost cost;
  WallTime when{};
  uint64_t order = 0;  // the newest of the keeper's orders that this is an answer to
};

nlohmann::json to_json(const ClusterLook& look);
ClusterLook parse_look(const Json& json);

// --- the formats of 2016 (reference/cluster.md 2.7), byte for byte ---

// "Machine-2{Master, Amazon us-west-1 m4.large, sir-042pcgha, PublicIP=…, PrivateIP=…, Disk=32GB, Connected}"
std::string machine_line(const MachineView& machine);
// Masters first, then those with both addresses, then by the cloud's id, then by number.
void sort_machines(std::vector<MachineView>& machines);
std::string cluster_line(const ClusterLook& look);  // "Cluster-1{ns, ACL: [1.2.3.4/32]}"
// "Container-5{run IMAGE COMMAND, DockerID: …, Minion: …, StitchID: …, IP: …, Mac: …, Labels: […], Env: …}"
std::string container_line(const ContainerView& container);

// "INFO [Aug 16 15:04:56.364] Attempt to boot machines.                count=2": local time; `fields` is
// "count=2" or empty. A newline in the text begins a list below the line.
std::string info_line(std::string_view text, std::string_view fields = {},
                      std::optional<std::chrono::system_clock::time_point> at = {});

}  // namespace rayctl::fleet
