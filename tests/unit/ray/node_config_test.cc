#include "ray/node_config.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::ray;
using namespace rayctl::cluster;

namespace {

constexpr Machine big{.memory_total = 16ull << 30, .cpus = 4};

NodeOptions head() {
  NodeOptions o;
  o.role = "head";
  o.image = "ray";
  o.overlay = "vxlan";
  return o;
}

NodeOptions worker() {
  NodeOptions o;
  o.role = "worker";
  o.join = "10.0.0.1";
  return o;
}

std::string error_of(const NodeOptions& options, const Machine& machine = big) {
  try {
    resolve(options, machine);
  } catch (const UsageError& e) {
    return e.message();
  }
  return "no error";
}

}  // namespace

TEST_CASE("memory defaults leave the machine a GiB, at least a tenth and at most a quarter") {
  CHECK(resolve(head(), big).resources.memory == big.memory_total - big.memory_total / 10);
  CHECK(resolve(head(), {.memory_total = 4ull << 30, .cpus = 1}).resources.memory == 3ull << 30);
  CHECK(resolve(head(), {.memory_total = 1ull << 30, .cpus = 1}).resources.memory == 768ull << 20);
  CHECK(error_of(head(), {.memory_total = 512ull << 20, .cpus = 1})
            .starts_with("--memory: 403 MB is too little"));
}

TEST_CASE("Ray's share follows from the container's") {
  NodeOptions o = head();
  o.memory = 4ull << 30;
  o.cpus = 0.5;
  Resources r = resolve(o, big).resources;
  CHECK(r.ray_cpus == 1);
  CHECK(r.shm_size == (4ull << 30) / 100 * 35);
  CHECK(r.object_store == (4ull << 30) / 100 * 30);
  CHECK(r.object_store < r.shm_size);
  CHECK(r.ray_memory + r.object_store == r.memory);
  o.shm_size = 200ull << 20;
  CHECK(resolve(o, big).resources.object_store == (200ull << 20) / 100 * 95);
}

TEST_CASE("a worker joins by host and port") {
  NodeOptions o = worker();
  CHECK(resolve(o, big).join_port == cluster::default_control_port);
  o.join = "head.example:900";
  CHECK(resolve(o, big).join_host == "head.example");
  CHECK(resolve(o, big).join_port == 900);
  o.join = "[fd00::1]:901";
  CHECK(resolve(o, big).join_host == "fd00::1");
  CHECK(resolve(o, big).join_port == 901);
}

TEST_CASE("what is wrong is named by its flag") {
  NodeOptions o;
  CHECK(error_of(o) == "--role: missing: say --role head or --role worker");
  o.role = "boss";
  CHECK(error_of(o) == "--role: 'boss' is neither head nor worker");
  o = head();
  o.overlay = "plain";
  CHECK(error_of(o) == "--overlay: 'plain' is none of auto, wireguard, userspace, vxlan, host");
  o.overlay = "auto";
  o.overlay_port = 70000;
  CHECK(error_of(o) == "--overlay-port: 70000 isn't a UDP port: 1 to 65535");
  o.overlay_port.reset();
  o.overlay = "host";
  o.egress = "declared";
  CHECK(error_of(o) == "--egress declared: overlay 'host' has no rules of its own; choose another --overlay");
  o.egress = "shut";
  CHECK(error_of(o) == "--egress: 'shut' is none of open, declared");
  o.egress.reset();
  o.overlay.reset();
  o.overlay_cipher = "rot13";
  CHECK(error_of(o) == "--overlay-cipher: 'rot13' is none of chacha20poly1305, aes256gcm");
  o = head();
  o.join = "x";
  CHECK(error_of(o) == "--join: only a worker joins; the head makes the cluster");
  o = head();
  o.prefix = "Ray!";
  CHECK(error_of(o).starts_with("--prefix: 'Ray!' isn't a host name label"));
  o = head();
  o.memory = 16ull << 30;
  CHECK(error_of(o).find("isn't below this machine's") != std::string::npos);
  o = head();
  o.cpus = 5;
  CHECK(error_of(o) == "--cpus: 5 isn't within 0.01 and this machine's 4");
  o = head();
  o.env = {"NOVALUE"};
  CHECK(error_of(o) == "--env: 'NOVALUE' isn't of the form NAME=VALUE");
  o = worker();
  o.pool = "10.0.0.0/8";
  CHECK(error_of(o) == "--pool: set on the head, for the whole cluster");
  o = worker();
  o.join = "host:99999";
  CHECK(error_of(o) == "port 99999 isn't within 1 and 65535");
}

TEST_CASE("a config file has the flags' names, and a flag wins") {
  NodeOptions file = parse_node_options(
      R"({"role":"head","image":"a","overlay":"vxlan","memory":"4G","shm-size":1073741824,"workers":2,"env":{"A":"1"}})",
      "node.json");
  CHECK(file.memory == 4ull << 30);
  CHECK(file.shm_size == 1ull << 30);
  NodeOptions flags;
  flags.image = "b";
  flags.env = {"A=2"};
  NodeConfig c = resolve(merge(flags, file), big);
  CHECK(c.image == "b");
  CHECK(c.workers == 2);
  CHECK(c.env == std::vector<std::string>{"A=1", "A=2"});
  CHECK_THROWS_WITH(parse_node_options(R"({"imge":"x"})", "node.json"), "node.json: unknown key 'imge'");
  CHECK_THROWS_WITH(parse_node_options(R"({"workers":-1})", "node.json"),
                    "node.json.workers: expected a whole number >= 0, found number");
}
