// One machine as its owner remembers it: what was asked for, what came of it, and since when.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "cluster/token.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

using cluster::WallTime;

// wanted: written down, the cloud may or may not know it yet. booted: the cloud accepted it. ending: to be
// terminated, or to be proven absent. gone: the cloud no longer has it.
enum class Phase { wanted, booted, ending, gone };
std::string_view name_of(Phase phase);

struct MachineRecord {
  uint32_t number = 0;  // "Machine-2": never used again within its cluster
  std::string key;      // the cloud's tag and client token: key_of(uid, number)
  Phase phase = Phase::wanted;

  // --- as it was asked for; compared with the deployment on every run ---
  std::string role;      // stitch::master_role or worker_role
  std::string provider;  // canonical name
  std::string region, zone;
  std::vector<std::string> sizes;  // in order of preference
  std::string image;
  unsigned disk_gb = 0;
  bool spot = false;
  std::optional<double> max_price;  // of spot
  std::string group;
  std::map<std::string, std::string> labels;
  std::vector<std::string> ssh_keys;
  uint32_t head = 0;      // of a worker: the number of the head whose address it was given
  std::string user_data;  // sha256 of the document, until the machine is booted
  std::string binary;     // of a head: sha256 of its rayctl, which its workers fetch from it

  // --- what came of it ---
  std::string size;                  // the one that it got
  std::optional<double> price_hour;  // of that size, dollars
  std::string id;                    // the cloud's
  bool listed = false;               // its cloud's list showed it once: a new machine may be missing there
  std::string public_address, private_address;
  std::string node;       // its id in the cluster, once it joined
  std::string node_name;  // "ray-wk-0"
  WallTime asked{}, launched{}, ended{};
  std::string error;     // the last one
  bool refused = false;  // the cloud said no, so that there is nothing under this key
  std::string fate;      // why it ended: "scaled down", "lost: Server.SpotInstanceTermination"

  bool is_head() const { return role == stitch::master_role; }
  bool alive() const { return phase == Phase::wanted || phase == Phase::booted; }
};

// "rk3f9a2b1c-7": `uid` is of one cluster on one computer, so that a machine's tag alone tells whose it is.
std::string key_of(std::string_view uid, uint32_t number);
bool key_has_uid(std::string_view key, std::string_view uid);
std::optional<uint32_t> number_of_key(std::string_view key);

nlohmann::json to_json(const MachineRecord& record);
MachineRecord parse_machine_record(const Json& json);

}  // namespace rayctl::fleet
