// How Ray is started in a container: `ray start` lines and their environment. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ray/node_config.h"

namespace rayctl::ray {

// Ray's ports, pinned so that firewalls and policies can name them (cluster.md 3.1).
struct Ports {
  uint16_t gcs = 6379, dashboard = 8265, node_manager = 6800, object_manager = 6801, runtime_env_agent = 6802,
           agent_grpc = 6803, agent_http = 52365, metrics = 8080, client = 10001;
};

constexpr const char* token_path = "/.rayctl/ray-token";  // in the container
constexpr const char* init_path = "/.rayctl/rayctl";      // rayctl's init and `run`

// Everything that decides how Ray starts on one node.
struct RayNode {
  cluster::MemberRole role = cluster::MemberRole::head;
  std::string address;                    // this container's, IPv4
  std::string head_name;                  // "ray-ms-0.q"
  std::vector<std::string> worker_names;  // "ray-wk-0.q", …: those that make "all"
  std::string job;                        // head only
  std::chrono::seconds stop_grace{35};
  Resources resources;
  std::vector<std::string> env;  // the user's, K=V; wins over ours
  Ports ports;
};

std::vector<std::string> ray_start_argv(const RayNode& node);

// HEADHOST, WORKERHOST, JOB, RAY_ADDRESS, token authentication, …; the image's variables are not among them.
std::vector<std::string> ray_environment(const RayNode& node);

// What a driver needs in an exec into the container.
std::vector<std::string> driver_environment(const RayNode& node);

// Which TCP ports Ray takes on a node, and what for.
std::vector<std::pair<uint16_t, std::string>> ray_ports(const RayNode& node);
// Where Ray shares its machine's network: throws when one of them is taken, and says by what.
void require_free_ports(const RayNode& node);

// The environment variable that hands `ray start` to rayctl's `run`: one argument a line.
constexpr const char* start_variable = "RAYCTL_RAY_START";

// The code that a user pastes on the head, between the markers of 2016's log.
std::string init_block(const std::string& head_address, uint16_t gcs_port);

}  // namespace rayctl::ray
