#include "stitch/deployment.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::stitch;
using Catch::Matchers::Contains;
using Catch::Matchers::Equals;

namespace {

Deployment read(const std::string& text) {
  return deployment_from_json(text, "d.json");
}

const char* const everything = R"({
  "namespace": "ray-1",
  "admin_acl": ["local", "192.0.2.0/24", "2001:db8::/32"],
  "max_price": 1.5,
  "machines": [
    {"id": 1, "role": "Master", "provider": "amazon", "size": "m4.large", "disk_gb": 64, "ssh_keys": ["ssh-rsa AAAA me"], "at": "r.spec:3:1"},
    {"id": 2, "role": "Worker", "provider": "Vagrant", "cpu": {"min": 2, "max": 4}, "ram": {"min": 7.5},
     "github_keys": ["secant"], "spot": true, "image": "ami-1", "gpu": {"type": "A100", "count": 2}, "group": "gpu",
     "labels": {"zone": "b"}, "idle_timeout_s": 600}
  ],
  "containers": [
    {"id": 1, "image": "ray", "command": ["run", "head"], "env": {"A": "b"}},
    {"id": 7, "image": "db"}
  ],
  "labels": [
    {"name": "head", "members": [1], "at": "r.spec:9:2"},
    {"name": "all", "members": [7, 1], "annotations": ["ACL"]}
  ],
  "connections": [
    {"from": "public", "to": "head", "min_port": 80},
    {"from": "head", "to": "all", "min_port": 100, "max_port": 65535}
  ],
  "placements": [
    {"target": "head", "rule": "exclusive", "label": "all"},
    {"target": "all", "rule": "on", "provider": "Amazon", "size": "m4.large"}
  ],
  "invariants": [{"form": "reach", "holds": true, "labels": ["public", "head"]}, {"form": "enough", "holds": false}]
})";

}  // namespace

TEST_CASE("a deployment's JSON round-trips", "[stitch]") {
  Deployment first = read(everything);
  std::string text = to_json(first).dump(2);
  CHECK(to_json(deployment_from_json(text, "again")).dump(2) == text);

  CHECK(first.machines[0].provider == "Amazon");
  CHECK(first.machines[0].region == "us-west-1");
  CHECK(first.machines[0].at == Position{"r.spec", 3, 1});
  CHECK(first.machines[1].provider == "Local");
  CHECK(first.machines[1].region.empty());
  CHECK(first.machines[1].disk_gb == 32);
  CHECK(first.machines[1].ram == Range{7.5, 0});
  CHECK(first.machines[1].gpu == Gpu{"A100", 2});
  CHECK(first.machines[1].idle_timeout == std::chrono::seconds(600));
  CHECK(first.connections[0].max_port == 80);
  CHECK(labels_of(first, 1) == std::vector<std::string>{"head", "all"});
  CHECK(find_label(first, "all")->members == std::vector<uint32_t>{7, 1});
  CHECK(find_container(first, 7)->image == "db");
  CHECK(find_container(first, 2) == nullptr);
}

TEST_CASE("an empty object is a deployment", "[stitch]") {
  Deployment deployment = read("{}");
  CHECK(deployment.name_space == "DEFAULT_NAMESPACE");
  CHECK_THAT(remarks(deployment).at(0), Contains("Namespace is not defined"));
}

TEST_CASE("a deployment that doesn't fit together is refused", "[stitch]") {
  struct Case {
    const char *text, *says;
  };
  const Case cases[] = {
      {R"({"machine": []})", "d.json: unknown key 'machine'"},
      {R"({"namespace": "CHANGE_ME"})",
       "d.json: cannot use the namespace 'CHANGE_ME': it is a placeholder: put your own name there"},
      {R"({"namespace": "a b"})",
       "d.json: cannot use the namespace 'a b': it must be 1 to 63 letters, digits, '-', '_' or '.', and "
       "begin with a letter or digit"},
      {R"({"admin_acl": ["10.0.0.0/33"]})",
       "d.json: cannot use AdminACL '10.0.0.0/33': it must be a network like 192.0.2.0/24, or local"},
      {R"({"max_price": -1})", "d.json: cannot use MaxPrice -1: it must be a price in $ an hour, 0 for none"},
      {R"({"egress": "closed"})", "d.json.egress: 'closed' is neither open nor declared"},
      {R"({"metadata_access": ["web"]})",
       "d.json: cannot use 'web' in MetadataAccess: there is no label of that name"},
      {R"({"machines": [{"id": 1}, {"id": 1, "at": "x.spec:4:2"}]})",
       "d.json: x.spec:4:2: cannot use two machines of id 1"},
      {R"({"machines": [{"id": 0}]})", "d.json: cannot use a machine with id 0: ids begin at 1"},
      {R"({"machines": [{"id": -1}]})", "d.json.machines[0].id: expected a whole number >= 0, found number"},
      {R"({"machines": [{"id": 1, "role": "Boss"}]})",
       "d.json: cannot use machine 1: its role is 'Boss', not Master or Worker"},
      {R"({"machines": [{"id": 1, "provider": "Amazn"}]})",
       "d.json: cannot use machine 1: there is no provider 'Amazn' (did you mean 'Amazon'?)"},
      {R"({"machines": [{"id": 1, "github_keys": ["YOUR_GITHUB_USERNAME"]}]})",
       "d.json: cannot use machine 1: its key 'YOUR_GITHUB_USERNAME' is a placeholder: put your own there"},
      {R"({"machines": [{"id": 1, "cpu": {"min": 4, "max": 2}}]})",
       "d.json: cannot use machine 1: its cpu range is 4 to 2"},
      {R"({"machines": [{"id": 1, "disk_gb": 0}]})", "d.json: cannot use machine 1: its disk has 0 GB"},
      {R"({"containers": [{"id": 1, "image": ""}]})", "d.json: cannot use container 1: it has no image"},
      {R"({"containers": [{"id": 1, "image": "a", "env": {"A=": ""}}]})",
       "d.json: cannot use container 1: 'A=' can't be the name of an environment variable"},
      {R"({"labels": [{"name": "a", "members": [3]}]})",
       "d.json: cannot define label 'a': there is no container 3"},
      {R"({"labels": [{"name": "public"}]})", "d.json: cannot define label 'public': it means the internet"},
      {R"({"labels": [{"name": "a/b"}]})",
       "d.json: cannot define label 'a/b': a label is made of letters, digits, '-', '_' and '.'"},
      {R"({"labels": [{"name": "a"}, {"name": "a"}]})", "d.json: cannot define label 'a' twice"},
      {R"({"labels": [{"name": "web"}], "connections": [{"from": "wep", "to": "web", "min_port": 1}]})",
       "d.json: cannot use a connection: there is no label 'wep' (did you mean 'web'?)"},
      {R"({"labels": [{"name": "a"}], "connections": [{"from": "public", "to": "a", "min_port": 1, "max_port": 2}]})",
       "d.json: cannot connect 'public' to 'a': with 'public' it is one port, not a range"},
      {R"({"connections": [{"from": "public", "to": "public", "min_port": 1}]})",
       "d.json: cannot connect 'public' to itself"},
      {R"({"connections": [{"from": "a", "to": "b", "min_port": 65536}]})",
       "d.json.connections[0].min_port: 65536 is no port"},
      {R"({"labels": [{"name": "a"}], "placements": [{"target": "a", "rule": "on"}]})",
       "d.json: cannot place 'a': a rule names either a label or a provider, region or size"},
      {R"({"labels": [{"name": "a"}], "placements": [{"target": "a", "rule": "near", "label": "a"}]})",
       "d.json.placements[0].rule: 'near' is not 'exclusive' or 'on'"},
      {R"({"invariants": [{"form": "reach", "labels": ["public"]}]})",
       "d.json: cannot check invariant 'reach': it takes 2 labels, not 1"},
  };
  for (const Case& one : cases) {
    INFO(one.text);
    CHECK_THROWS_WITH(read(one.text), Equals(one.says));
  }
}

TEST_CASE("Ray's workers are connected to each other", "[stitch]") {
  Deployment deployment = read(R"({"containers": [
    {"id": 1, "image": "r", "command": ["run", "head"]}, {"id": 2, "image": "r", "command": ["run", "worker"]},
    {"id": 3, "image": "r", "command": ["run", "worker"]}]})");
  REQUIRE(deployment.labels.size() == 1);
  CHECK(deployment.labels[0].name == ray_workers_label);
  CHECK(deployment.labels[0].members == std::vector<uint32_t>{2, 3});
  CHECK(deployment.connections[0].from == ray_workers_label);
  complete(deployment);
  CHECK(deployment.labels.size() == 1);  // once
}

TEST_CASE("what is legal but likely not meant is remarked", "[stitch]") {
  Deployment deployment = read(R"({"namespace": "n", "machines": [{"id": 1, "role": "Worker"}],
    "containers": [{"id": 1, "image": "a"}], "labels": [{"name": "Web", "members": [1]}]})");
  CHECK(remarks(deployment) ==
        std::vector<std::string>{"no machine has the role Master: nothing boots without one",
                                 "label 'Web': labels should be lower case, as host names are"});
}

TEST_CASE("placeholders and networks are recognised", "[stitch]") {
  CHECK(is_placeholder("CHANGE_ME"));
  CHECK(is_placeholder("YOUR_PUBLIC_KEY"));
  CHECK_FALSE(is_placeholder("YOUR_"));
  CHECK_FALSE(is_placeholder("YOUR_name"));
  CHECK_FALSE(is_placeholder("change_me"));
  CHECK(is_cidr("10.0.0.0/8"));
  CHECK(is_cidr("1.2.3.4"));
  CHECK(is_cidr("::/0"));
  CHECK_FALSE(is_cidr("10.0.0/8"));
  CHECK_FALSE(is_cidr("10.0.0.0/"));
  CHECK_FALSE(is_cidr("10.0.0.0/8x"));
  CHECK_FALSE(is_cidr("local"));
}
