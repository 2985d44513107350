#include "ray/container_plan.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace rayctl;
using namespace rayctl::ray;
using namespace rayctl::cluster;

namespace {

ContainerInputs inputs() {
  ContainerInputs in;
  in.id = "0123456789abcdef";
  in.home = "/home/ray";
  in.image.env = {"PATH=/venv/bin:/bin", "A=1"};
  in.image.entrypoint = {"/entry", "-x"};
  in.image.workdir = "/home/ray/ray";
  in.ray.role = MemberRole::worker;
  in.ray.address = "10.64.0.66";
  in.ray.head_name = "ray-ms-0.q";
  in.ray.resources = {
      .memory = 1000, .cpus = 1.5, .shm_size = 350, .ray_cpus = 1, .ray_memory = 700, .object_store = 300};
  in.ray.env = {"A=2"};
  return in;
}

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

TEST_CASE("the image's entrypoint gets the command run") {
  ContainerInputs in = inputs();
  CHECK(container_argv(in) == std::vector<std::string>{"/entry", "-x", "/.rayctl/run", "worker"});
  in.image_has_run = true;
  CHECK(container_argv(in) == std::vector<std::string>{"/entry", "-x", "run", "worker"});
  in.entrypoint = "";
  CHECK(container_argv(in) == std::vector<std::string>{"run", "worker"});
  in.entrypoint = "/mine";
  CHECK(container_argv(in) == std::vector<std::string>{"/mine", "run", "worker"});
}

TEST_CASE("each variable is there once, the user's value last") {
  std::vector<std::string> env = container_environment(inputs());
  CHECK(has(env, "PATH=/venv/bin:/bin"));
  CHECK(has(env, "HOME=/home/ray"));
  CHECK(has(env, "HOSTNAME=0123456789ab"));
  CHECK(has(env, "A=2"));
  CHECK_FALSE(has(env, "A=1"));
}

TEST_CASE("limits are the node's, without swap") {
  run::Defaults d = container_defaults(inputs());
  CHECK(d.resources.memory.limit == 1000);
  CHECK(d.resources.memory.swap == 1000);
  CHECK(d.resources.cpu.quota == 150000);
  CHECK(d.shm_size == 350);
  CHECK(d.hostname == "0123456789ab");
  CHECK(d.cwd == "/home/ray/ray");
}
