#include "ray/start.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "net/port_holder.h"

namespace rayctl::ray {

std::vector<std::string> ray_start_argv(const RayNode& node) {
  const Ports& p = node.ports;
  std::vector<std::string> argv = {"ray", "start", "--block"};
  if (node.role == cluster::MemberRole::head) {
    argv.insert(argv.end(), {"--head", fmt::format("--port={}", p.gcs), "--dashboard-host=0.0.0.0",
                             fmt::format("--dashboard-port={}", p.dashboard)});
  } else {
    argv.push_back(
        fmt::format("--address={}:{}", node.head_name, p.gcs));  // a name: it outlives the head's address
  }
  argv.insert(argv.end(), {
                              fmt::format("--node-ip-address={}", node.address),
                              fmt::format("--node-manager-port={}", p.node_manager),
                              fmt::format("--object-manager-port={}", p.object_manager),
                              fmt::format("--runtime-env-agent-port={}", p.runtime_env_agent),
                              fmt::format("--dashboard-agent-grpc-port={}", p.agent_grpc),
                              fmt::format("--dashboard-agent-listen-port={}", p.agent_http),
                              fmt::format("--metrics-export-port={}", p.metrics),
                              fmt::format("--num-cpus={}", node.resources.ray_cpus),
                              fmt::format("--memory={}", node.resources.ray_memory),
                              fmt::format("--object-store-memory={}", node.resources.object_store),
                              "--disable-usage-stats",
                              "--log-color=false",  // colours would be in the log even in a pipe
                          });
  return argv;
}

std::vector<std::pair<uint16_t, std::string>> ray_ports(const RayNode& node) {
  const Ports& p = node.ports;
  std::vector<std::pair<uint16_t, std::string>> ports;
  if (node.role == cluster::MemberRole::head)
    ports = {{p.gcs, "Ray's head"}, {p.dashboard, "its dashboard"}, {p.client, "its clients"}};
  ports.insert(ports.end(), {{p.node_manager, "its node manager"},
                             {p.object_manager, "its object manager"},
                             {p.runtime_env_agent, "its environments"},
                             {p.agent_grpc, "its agent"},
                             {p.agent_http, "its agent's HTTP"},
                             {p.metrics, "its metrics"}});
  return ports;
}

void require_free_ports(const RayNode& node) {
  for (const auto& [port, what] : ray_ports(node))
    if (auto holder = net::tcp_port_holder(port))
      throw Error(
          "cannot start Ray: TCP port {} ({}) is taken on this machine by {}, and with overlay 'host' Ray "
          "uses the "
          "machine's own ports",
          port, what, *holder);
}

std::vector<std::string> driver_environment(const RayNode& node) {
  return {
      "RAY_AUTH_MODE=token",
      fmt::format("RAY_AUTH_TOKEN_PATH={}", token_path),
      "RAY_USAGE_STATS_ENABLED=0",
      fmt::format("RAY_ADDRESS={}:{}", node.head_name, node.ports.gcs),
  };
}

std::vector<std::string> ray_environment(const RayNode& node) {
  std::vector<std::string> env = driver_environment(node);
  env.push_back("HEADHOST=" + node.head_name);
  if (node.role == cluster::MemberRole::head) {
    env.push_back(fmt::format("WORKERHOST={}", fmt::join(node.worker_names, ",")));
    if (!node.job.empty()) env.push_back("JOB=" + node.job);
  }
  env.push_back("RAY_DISABLE_DOCKER_CPU_WARNING=1");
  env.push_back("PYTHONUNBUFFERED=1");  // else Ray's start-up lines stay in a buffer while it blocks
  // Ray drains when it is asked to stop; it must be done before the grace is over.
  int64_t drain = std::clamp<int64_t>(node.stop_grace.count() - 3, 0, 30);
  env.push_back(fmt::format("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S={}", drain));
  env.push_back(fmt::format("{}={}", start_variable, fmt::join(ray_start_argv(node), "\n")));
  env.insert(env.end(), node.env.begin(), node.env.end());
  return env;
}

std::string init_block(const std::string& head_address, uint16_t gcs_port) {
  return fmt::format(
      "#### START RAY INIT ####\nimport ray\nray.init(address=\"{}:{}\")\n#### END RAY INIT ####\n",
      head_address, gcs_port);
}

}  // namespace rayctl::ray
