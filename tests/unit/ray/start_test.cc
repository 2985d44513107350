#include "ray/start.h"

#include <arpa/inet.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/fd.h"
#include "net/port_holder.h"

using namespace rayctl::ray;
using namespace rayctl::cluster;

namespace {

RayNode node(MemberRole role) {
  RayNode n;
  n.role = role;
  n.address = "10.64.0.2";
  n.head_name = "ray-ms-0.q";
  n.worker_names = {"ray-wk-0.q", "ray-wk-1.q"};
  n.resources = {
      .memory = 4000, .cpus = 1, .shm_size = 1400, .ray_cpus = 1, .ray_memory = 2800, .object_store = 1200};
  return n;
}

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

TEST_CASE("the head's line makes a cluster with pinned ports") {
  CHECK(fmt::format("{}", fmt::join(ray_start_argv(node(MemberRole::head)), " ")) ==
        "ray start --block --head --port=6379 --dashboard-host=0.0.0.0 --dashboard-port=8265 "
        "--node-ip-address=10.64.0.2 "
        "--node-manager-port=6800 --object-manager-port=6801 --runtime-env-agent-port=6802 "
        "--dashboard-agent-grpc-port=6803 "
        "--dashboard-agent-listen-port=52365 --metrics-export-port=8080 --num-cpus=1 --memory=2800 "
        "--object-store-memory=1200 --disable-usage-stats --log-color=false");
}

TEST_CASE("a worker's line names the head by name") {
  std::vector<std::string> argv = ray_start_argv(node(MemberRole::worker));
  CHECK(has(argv, "--address=ray-ms-0.q:6379"));
  CHECK_FALSE(has(argv, "--head"));
}

TEST_CASE("the environment tells hosts, token and job; the user's own wins") {
  RayNode n = node(MemberRole::head);
  n.job = "python job.py";
  n.env = {"RAY_AUTH_MODE=none"};
  std::vector<std::string> env = ray_environment(n);
  CHECK(has(env, "WORKERHOST=ray-wk-0.q,ray-wk-1.q"));
  CHECK(has(env, "HEADHOST=ray-ms-0.q"));
  CHECK(has(env, "JOB=python job.py"));
  CHECK(has(env, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=30"));
  CHECK(has(env, "RAY_AUTH_TOKEN_PATH=/.rayctl/ray-token"));
  CHECK(env.back() == "RAY_AUTH_MODE=none");
  std::vector<std::string> worker = ray_environment(node(MemberRole::worker));
  CHECK(std::none_of(worker.begin(), worker.end(),
                     [](const auto& v) { return v.starts_with("JOB=") || v.starts_with("WORKERHOST="); }));
}

TEST_CASE("the init block is code that works when pasted") {
  CHECK(
      init_block("10.64.0.2", 6379) ==
      "#### START RAY INIT ####\nimport ray\nray.init(address=\"10.64.0.2:6379\")\n#### END RAY INIT ####\n");
}

TEST_CASE("a port that Ray needs of its machine is asked for before, and who has it is named") {
  CHECK(ray_ports(node(MemberRole::head)).size() == 9);
  CHECK(ray_ports(node(MemberRole::worker)).size() == 6);
  rayctl::Fd listener{rayctl::check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "cannot make a socket")};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  rayctl::check(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), "cannot bind");
  rayctl::check(listen(listener.get(), 1), "cannot listen");
  getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  RayNode head = node(MemberRole::head);
  head.ports.gcs = ntohs(address.sin_port);
  CHECK_THROWS_WITH(
      require_free_ports(head),
      Catch::Contains(fmt::format("TCP port {} (Ray's head) is taken on this machine by process {} (",
                                  head.ports.gcs, getpid())));
  listener.reset();
  CHECK_FALSE(rayctl::net::tcp_port_holder(ntohs(address.sin_port)));
}
