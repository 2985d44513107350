// What one node is told: flags of `rayctl node` and keys of its --config file, and the values that follow
// from them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/control_protocol.h"
#include "cluster/token.h"

namespace rayctl::ray {

constexpr const char* default_config_file = "/etc/rayctl/node.json";

// As given: an empty field was not given. Sizes in bytes.
struct NodeOptions {
  std::optional<std::string> role, image, prefix, name, listen, advertise, pool, overlay, overlay_cipher,
      egress, metadata, join, token_file, claim_token_file, registry_auth, registry_ca, entrypoint, job,
      stop_grace;
  std::optional<uint64_t> workers, memory, shm_size, overlay_port;
  std::optional<double> cpus;
  std::vector<std::string> insecure_registries, env, labels;
};

// Reads a config file: a JSON object whose keys are the flags' names without dashes in front ("shm-size");
// sizes are numbers of bytes or texts like "4G". Unknown keys are errors.
NodeOptions parse_node_options(std::string_view text, const std::string& file);

// `first` wins; lists are appended.
NodeOptions merge(NodeOptions first, const NodeOptions& second);

// The machine's size, as the decision needs it.
struct Machine {
  uint64_t memory_total = 0;  // bytes, MemTotal
  unsigned cpus = 1;          // that this process may run on
};
Machine this_machine();

// What the container gets.
struct Resources {
  uint64_t memory = 0;        // cgroup limit, bytes; below MemTotal, or Ray would look at the whole machine
  double cpus = 1;            // cgroup quota
  uint64_t shm_size = 0;      // /dev/shm, bytes; counts against `memory`
  uint64_t ray_cpus = 1;      // --num-cpus: at least 1
  uint64_t ray_memory = 0;    // --memory
  uint64_t object_store = 0;  // --object-store-memory: 30 % of memory, and never more than fits into /dev/shm
};

struct NodeConfig {
  cluster::MemberRole role = cluster::MemberRole::head;
  std::string image;
  uint64_t workers = 0;        // head: how many workers make "all"
  std::string prefix = "ray";  // names are <prefix>-ms-0 and <prefix>-wk-N
  std::string name;            // empty: assigned
  std::string listen_host;     // empty: every address
  uint16_t listen_port = cluster::default_control_port;
  std::string advertise;       // this node's underlay address; empty: found from the route
  std::string pool;            // empty: chosen
  std::string overlay;         // head: the cluster's mode, empty: its own or "auto"; worker: how it encrypts
  uint16_t overlay_port = 0;   // head: UDP; 0: the mode's usual one
  std::string egress;          // head: "open" or "declared"; empty: as it was
  std::string metadata;        // head: "blocked" or "allowed", the cloud's metadata service; empty: as it was
  std::string overlay_cipher;  // head: "chacha20poly1305" or "aes256gcm"; empty: as it was
  std::string join_host;       // worker
  uint16_t join_port = cluster::default_control_port;
  std::string token_file;        // "-" = stdin; empty: RAYCTL_TOKEN
  std::string claim_token_file;  // head: wait for the operator who has this token's other half; empty: own CA
  std::string registry_auth, registry_ca;
  std::vector<std::string> insecure_registries;
  std::optional<std::string> entrypoint;      // replaces the image's; "" drops it
  std::vector<std::string> env;               // K=V
  std::map<std::string, std::string> labels;  // of the node: where it runs, what for
  std::string job;                            // run on the head once all workers are in
  std::chrono::seconds stop_grace{35};        // Ray drains for 30
  Resources resources;
};

// Checks everything that can be checked without touching the machine; a UsageError names the flag.
NodeConfig resolve(const NodeOptions& options, const Machine& machine);

}  // namespace rayctl::ray
