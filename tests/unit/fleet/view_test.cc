#include "fleet/view.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "fleet/ssh.h"
#include "fleet/watch.h"
#include "unit/fleet/samples.h"

namespace rayctl::fleet {

using namespace samples;

namespace {

ClusterLook guide() {
  ClusterLook look;
  look.name = "vivian-ray-1";
  look.acl = {"136.152.142.34/32"};
  look.when = WallTime(std::chrono::seconds(1000100));
  MachineView worker, master;
  worker.record = {.number = 3,
                   .key = "rkabcd1234-3",
                   .phase = Phase::booted,
                   .role = "Worker",
                   .provider = "Amazon",
                   .region = "us-west-1",
                   .zone = "",
                   .sizes = {"m4.large"},
                   .disk_gb = 32};
  worker.record.size = "m4.large";
  worker.record.id = "sir-042r83pp";
  worker.record.public_address = "54.183.84.139";
  worker.record.private_address = "172.31.9.27";
  worker.stage = Stage::pulling;
  worker.detail = "43 %";
  worker.connected = true;
  worker.since = WallTime(std::chrono::seconds(1000040));
  master = worker;
  master.record.number = 2;
  master.record.role = "Master";
  master.record.id = "sir-042pcgha";
  master.record.public_address = "54.193.20.57";
  master.record.private_address = "172.31.11.175";
  master.stage = Stage::booting;
  master.detail = "";
  master.connected = false;
  look.machines = {worker, master};
  look.progress = Progress::waiting;
  look.missing = "0 of 2 machines are healthy";
  return look;
}

}  // namespace

TEST_CASE("2016's lines, byte for byte", "[fleet]") {
  ClusterLook look = guide();
  sort_machines(look.machines);
  CHECK(machine_line(look.machines[0]) ==
        "Machine-2{Master, Amazon us-west-1 m4.large, sir-042pcgha, PublicIP=54.193.20.57, "
        "PrivateIP=172.31.11.175, "
        "Disk=32GB}");
  CHECK(machine_line(look.machines[1]) ==
        "Machine-3{Worker, Amazon us-west-1 m4.large, sir-042r83pp, PublicIP=54.183.84.139, "
        "PrivateIP=172.31.9.27, "
        "Disk=32GB, Connected}");
  MachineView young;
  young.record = {.number = 2,
                  .role = "Master",
                  .provider = "Amazon",
                  .region = "us-west-1",
                  .sizes = {"m4.large"},
                  .disk_gb = 32};
  CHECK(machine_line(young) == "Machine-2{Master, Amazon us-west-1 m4.large, Disk=32GB}");
  CHECK(cluster_line(look) == "Cluster-1{vivian-ray-1, ACL: [136.152.142.34/32]}");
  ContainerView c{.number = 5,
                  .image = "vfang/ray",
                  .command = "run head",
                  .id = "80c7a93d1d5000000000",
                  .minion = "172.31.9.27",
                  .stitch_id = "1",
                  .address = "10.0.9.118",
                  .mac = "02:00:0a:00:09:76",
                  .labels = {"ray-ms-0"},
                  .env = {{"HEADHOST", "ray-ms-0.q"}, {"WORKERHOST", "ray-wk-0.q"}}};
  CHECK(container_line(c) ==
        "Container-5{run vfang/ray run head, DockerID: 80c7a93d1d50, Minion: 172.31.9.27, StitchID: 1, IP: "
        "10.0.9.118, "
        "Mac: 02:00:0a:00:09:76, Labels: [ray-ms-0], Env: map[HEADHOST:ray-ms-0.q WORKERHOST:ray-wk-0.q]}");
  setenv("TZ", "UTC", 1);
  tzset();
  auto at = std::chrono::system_clock::time_point(std::chrono::milliseconds(1471359896364));
  CHECK(info_line("Attempt to boot machines.", "count=2", at) ==
        "INFO [Aug 16 15:04:56.364] Attempt to boot machines.                count=2");
  CHECK(info_line("Successfully booted machines.", "", at) ==
        "INFO [Aug 16 15:04:56.364] Successfully booted machines.");
}

TEST_CASE("order: Masters, then those with both addresses, then by id, then by number", "[fleet]") {
  std::vector<MachineView> machines(4);
  auto set = [&](size_t i, uint32_t number, const char* role, const char* id, bool addresses) {
    machines[i].record.number = number;
    machines[i].record.role = role;
    machines[i].record.id = id;
    if (addresses) machines[i].record.public_address = machines[i].record.private_address = "1.2.3.4";
  };
  set(0, 3, "Worker", "b", true);
  set(1, 4, "Worker", "a", false);
  set(2, 5, "Worker", "a", true);
  set(3, 9, "Master", "z", false);
  sort_machines(machines);
  std::vector<uint32_t> order;
  for (const MachineView& m : machines) order.push_back(m.record.number);
  CHECK(order == std::vector<uint32_t>{9, 5, 3, 4});
}

TEST_CASE("a look survives its file", "[fleet]") {
  ClusterLook look = guide();
  look.containers.push_back({.number = 7, .image = "x", .id = "y", .labels = {"a"}, .env = {{"K", "V"}}});
  look.cost = {.per_hour = 0.2, .so_far = 1.5, .machines = 2, .unknown = 1};
  std::string text = to_json(look).dump();
  CHECK(to_json(parse_look(Json::parse(text, "look"))).dump() == text);
}

TEST_CASE("what stands on the screen", "[fleet]") {
  auto lines = watch_lines(guide(), 100, 24);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0] == "  Machine-2 Master  54.193.20.57     booting              1m 00s");
  CHECK(lines[1] == "  Machine-3 Worker  54.183.84.139    pulling 43 %         1m 00s");
  CHECK(lines[2] == "vivian-ray-1: waiting, 0 of 2 machines are healthy");
  ClusterLook many = guide();
  for (uint32_t i = 0; i < 1000; ++i) {
    many.machines.push_back(many.machines[0]);
    many.machines.back().record.number = 10 + i;
    if (i % 2) many.machines.back().stage = Stage::healthy;
  }
  lines = watch_lines(many, 40, 12);
  CHECK(lines.size() <= 12);
  for (const std::string& line : lines) CHECK(line.size() <= 40);
  CHECK(std::any_of(lines.begin(), lines.end(),
                    [](const auto& l) { return l.find("and 996 more") != std::string::npos; }));
}

TEST_CASE("ssh: known hosts only, and 2016's words for a number that isn't there", "[fleet]") {
  ClusterLook look = guide();
  Home home{"/h"};
  auto argv = ssh_argv(home, find_machine(look, "2"), "", {"-L", "1:a:2"});
  CHECK(argv == std::vector<std::string>{"ssh", "-i", "/h/ssh_key", "-o", "StrictHostKeyChecking=yes", "-o",
                                         "UserKnownHostsFile=/h/known_hosts", "-o",
                                         "GlobalKnownHostsFile=/dev/null", "-o", "CheckHostIP=no",
                                         "54.193.20.57", "-L", "1:a:2"});
  CHECK_THROWS_WITH(
      find_machine(look, "9"),
      "Unable to find machine `9`.\nAvailable machines:\n    "
      "Machine-2{Master, Amazon us-west-1 m4.large, sir-042pcgha, PublicIP=54.193.20.57, "
      "PrivateIP=172.31.11.175, Disk=32GB}\n    Machine-3{Worker, Amazon us-west-1 m4.large, sir-042r83pp, "
      "PublicIP=54.183.84.139, PrivateIP=172.31.9.27, Disk=32GB, Connected}");
}

}  // namespace rayctl::fleet
