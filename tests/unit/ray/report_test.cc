#include "ray/report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::ray;
using namespace rayctl::cluster;

namespace {

WallTime at(int64_t seconds) {
  return WallTime(std::chrono::seconds(seconds));
}

ContainerReport container(const std::string& id) {
  ContainerReport r;
  r.id = id;
  r.name = "ray";
  r.state = ContainerState::running;
  r.started = at(1000);
  return r;
}

}  // namespace

TEST_CASE("a container's status reads as docker's") {
  ContainerReport r = container("a");
  CHECK(describe_status(r, at(1000)) == "Up Less than a second (health: starting)");
  r.healthy = true;
  CHECK(describe_status(r, at(1065)) == "Up About a minute (healthy)");
  CHECK(describe_status(r, at(1000 + 3 * 3600)) == "Up 3 hours (healthy)");
  r.state = ContainerState::exited;
  r.exit_code = 137;
  r.finished = at(1000);
  r.oom_killed = true;
  CHECK(describe_status(r, at(1005)) == "Exited (137) 5 seconds ago (out of memory)");
  r.state = ContainerState::restarting;
  CHECK(describe_status(r, at(1001)) == "Restarting (137) 1 second ago");
}

TEST_CASE("a report survives the wire") {
  NodeReport r;
  r.stage = Stage::starting_ray;
  r.since = at(7);
  r.error = "x";
  r.container = container("abc");
  r.container->exit_code = 3;
  r.cpus = 1.5;
  NodeReport back = parse_node_report(Json::parse(to_json(r).dump(), "report"));
  CHECK(to_json(back) == to_json(r));
  CHECK_THROWS_WITH(parse_node_report(Json::parse(R"({"stage":"flying"})", "report")),
                    "report.stage: unknown value 'flying'");
}

TEST_CASE("a container is found by id prefix, node name or role") {
  std::vector<PlacedContainer> all = {{"ray-ms-0", MemberRole::head, container("abcd12")},
                                      {"ray-wk-0", MemberRole::worker, container("abff34")},
                                      {"ray-wk-1", MemberRole::worker, container("0123")}};
  CHECK(find_container(all, "head").node == "ray-ms-0");
  CHECK(find_container(all, "ray-wk-1.q").node == "ray-wk-1");
  CHECK(find_container(all, "ray-wk-0/ray").node == "ray-wk-0");
  CHECK(find_container(all, "abc").node == "ray-ms-0");
  CHECK_THROWS_WITH(find_container(all, "ab"), "container 'ab' is not unique: it may be abcd12 or abff34");
  CHECK_THROWS_WITH(find_container(all, "ray-wk-9"),
                    "cannot find container 'ray-wk-9': 'rayctl ps' lists those that there are");
}

TEST_CASE("the boot log says what each stage took", "[report]") {
  using std::chrono::seconds;
  cluster::WallTime start{seconds(1'000'000)};
  NodeReport report;
  CHECK(describe_boot(report, start) == "");
  report.machine_started = start - seconds(31);
  report.boot = {{Stage::joining, start}, {Stage::pulling, start + seconds(2)}};
  CHECK(describe_boot(report, start + seconds(16)) == "installing 31s, joining 2s, pulling 14s");
  report.boot.push_back({Stage::starting_ray, start + seconds(20)});
  report.boot.push_back({Stage::healthy, start + seconds(25)});
  std::string text = "installing 31s, joining 2s, pulling 18s, starting Ray 5s, healthy";
  CHECK(describe_boot(report, start + seconds(900)) == text);
  NodeReport back = parse_node_report(Json::parse(to_json(report).dump(), "t"));
  CHECK(describe_boot(back, start + seconds(900)) == text);
  report.machine_started = start - seconds(90000);  // a machine that ran before
  CHECK(describe_boot(report, start) == "joining 2s, pulling 18s, starting Ray 5s, healthy");
}
