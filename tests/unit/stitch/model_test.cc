// Containers, labels, connections, placement, machines: what a spec makes of the deployment.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "stitch/stitch.h"

using namespace rayctl;
using namespace rayctl::stitch;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

namespace {

Options quiet() {
  Options options;
  options.log = [](Level, const std::string&) {};
  return options;
}

Deployment run(const std::string& text) {
  return evaluate(text, "t.spec", quiet());
}

std::string fault(const std::string& text) {
  try {
    run(text);
  } catch (const Error& e) {
    std::string message = e.message().substr(0, e.message().find('\n'));
    return message.rfind("t.spec:1:", 0) == 0 ? message.substr(9) : message;
  }
  return "";
}

std::vector<std::string> edges(const Deployment& deployment) {
  std::vector<std::string> all;
  for (const Connection& connection : deployment.connections)
    all.push_back(
        fmt::format("{}>{}:{}-{}", connection.from, connection.to, connection.min_port, connection.max_port));
  return all;
}

std::vector<std::string> rules(const Deployment& deployment) {
  std::vector<std::string> all;
  for (const Placement& rule : deployment.placements)
    all.push_back(fmt::format("{} {} {}{}{}{}", rule.target, rule.exclusive ? "exclusive" : "on",
                              rule.other_label, rule.provider, rule.region, rule.size));
  return all;
}

}  // namespace

TEST_CASE("docker makes containers", "[stitch][model]") {
  Deployment deployment =
      run("(docker \"a\") (docker (list \"b\" (list \"run\" \"x\")) \"y\") (makeList 2 (docker \"c\"))");
  REQUIRE(deployment.containers.size() == 4);
  CHECK(deployment.containers[1].image == "b");
  CHECK(deployment.containers[1].command == std::vector<std::string>{"run", "x", "y"});
  CHECK(deployment.containers[3].id == 4);
  CHECK(to_string(deployment.containers[1].at) == "t.spec:1:14");
  CHECK(fault("(docker 1)") ==
        "1: 'docker' takes an image and the words of a command, all strings, not an integer: 1");
  CHECK(fault("(docker (list))") == "1: 'docker' takes an image");
}

TEST_CASE("labels name sets of containers and labels", "[stitch][model]") {
  Deployment deployment =
      run("(define a (docker \"a\")) (define one (label \"one\" a)) (label \"two\" (list one (docker \"b\")) "
          "a \"one\")"
          "(setEnv \"two\" \"K\" \"v\") (setEnv (list one) \"L\" \"w\") (setEnv a \"K\" \"x\")"
          "(docker (labelName one) (labelHost \"two\") (labelHosts \"two\")) (annotate \"one\" \"ACL\")");
  CHECK(deployment.labels[1].members == std::vector<uint32_t>{1, 2});
  CHECK(deployment.containers[0].env == std::map<std::string, std::string>{{"K", "x"}, {"L", "w"}});
  CHECK(deployment.containers[1].env == std::map<std::string, std::string>{{"K", "v"}});
  CHECK(deployment.containers[2].image == "one");
  CHECK(deployment.containers[2].command == std::vector<std::string>{"two.q", "1.two.q", "2.two.q"});
  CHECK(deployment.labels[0].annotations == std::vector<std::string>{"ACL"});
  CHECK(fault("(label \"public\" (docker \"a\"))") == "8: label 'public' is reserved: it means the internet");
  CHECK(fault("(label \"a\" (list)) (label \"a\" (list))") == "27: label 'a' is defined already");
  CHECK(fault("(label \"a\" 1)") == "12: 'label' takes containers and labels: 1 is none");
  CHECK(fault("(label \"a b\" (list))") ==
        "1: cannot define label 'a b': a label is made of letters, digits, '-', '_' and '.'");
  CHECK(fault("(label \"web\" (list)) (labelHost \"wep\")") ==
        "33: there is no label 'wep' (did you mean 'web'?)");
  CHECK(fault("(setEnv \"a\" \"K\" \"v\")") ==
        "9: 'setEnv' takes containers and labels: there is no label \"a\" that is none");
  CHECK(fault("(setEnv (list) \"K\" 1)") == "20: 'setEnv' takes a string here, not an integer: 1");
  CHECK(fault("(annotate \"a\" \"b\")") == "1: 'annotate' takes labels and then \"ACL\"");
}

TEST_CASE("connect is a cross product, each edge once", "[stitch][model]") {
  Deployment deployment =
      run("(define a (label \"a\" (docker \"a\"))) (define b (label \"b\" (docker \"b\"))) (connect 22 (list "
          "a b) b \"a\")"
          "(connect (list 1 9) a b) (connect 22 a b) (connect 80 \"public\" a) (connect 443 a \"public\")");
  CHECK(edges(deployment) == std::vector<std::string>{"a>b:22-22", "a>a:22-22", "b>b:22-22", "b>a:22-22",
                                                      "a>b:1-9", "public>a:80-80", "a>public:443-443"});
  const std::string two = "(label \"a\" (docker \"a\")) ";
  CHECK(fault(two + "(connect 70000 \"a\" \"a\")") == "35: there are no ports 70000 to 70000");
  CHECK(fault(two + "(connect (list 2 1) \"a\" \"a\")") == "35: there are no ports 2 to 1");
  CHECK(fault(two + "(connect (list 1 2) \"a\" \"public\")") ==
        "35: with 'public' it is one port, not a range");
  CHECK(fault(two + "(connect 1 \"public\" \"public\")") == "26: cannot connect 'public' to itself");
  CHECK(fault(two + "(connect \"1\" \"a\" \"a\")") ==
        "35: 'connect' takes a port, or (list first last), not \"1\"");
  CHECK(fault(two + "(connect 1 \"a\" 5)") == "41: 'connect' takes labels here, not an integer: 5");
  CHECK(fault(two + "(connect 1 \"a\" \"c\")") == "26: there is no label 'c' (did you mean 'a'?)");
}

TEST_CASE("place takes rules of labels and machines", "[stitch][model]") {
  Deployment deployment =
      run("(label \"a\" (docker \"a\")) (label \"b\" (docker \"b\")) (place (labelRule \"exclusive\" \"a\" "
          "\"b\") \"b\")"
          "(place (machineRule \"on\" (list (provider \"amazon\") (size \"m4.large\"))) (list \"a\" \"b\"))"
          "(place (labelRule \"on\" \"a\") \"b\") (place (labelRule \"on\" \"a\") \"b\")");
  CHECK(rules(deployment) == std::vector<std::string>{"b exclusive a", "b exclusive b", "a on Amazonm4.large",
                                                      "b on Amazonm4.large", "b on a"});
  CHECK(fault("(labelRule \"near\" \"a\")") == "12: a rule is \"exclusive\" or \"on\", not 'near'");
  CHECK(fault("(machineRule \"on\" (diskSize 3))") ==
        "1: 'machineRule' takes (provider …), (region …) and (size …), not (diskSize 3)");
  CHECK(fault("(label \"a\" (list)) (place 1 \"a\")") ==
        "27: 'place' takes a labelRule or machineRule here, not an integer: 1");
}

TEST_CASE("machines have attributes", "[stitch][model]") {
  Deployment deployment =
      run("(define cfg (list (provider \"Google\") (list (region \"r\") (diskSize 10))))"
          "(define m (machine (role \"Master\") cfg (cpu 2) (ram 4 8) (sshkey \"k1\") (githubKey \"g\")))"
          "(machineAttribute (list m) (sshkey \"k2\") (size \"big\"))"
          "(machine (role \"Worker\") (spot) (machineImage \"img\") (gpu \"H100\" 8) (group \"gpus\") "
          "(machineLabel \"a\" \"b\")"
          " (idleTimeout \"10m\")) (machine (spot false) (gpu 1) (idleTimeout 5))");
  const Machine& first = deployment.machines[0];
  CHECK(first.provider == "Google");
  CHECK(first.region == "r");
  CHECK(first.disk_gb == 10);
  CHECK(first.cpu == Range{2, 0});
  CHECK(first.ram == Range{4, 8});
  CHECK(first.ssh_keys == std::vector<std::string>{"k1", "k2"});
  CHECK(first.size == "big");
  const Machine& second = deployment.machines[1];
  CHECK(second.spot);
  CHECK(second.image == "img");
  CHECK(second.gpu == Gpu{"H100", 8});
  CHECK(second.group == "gpus");
  CHECK(second.labels == std::map<std::string, std::string>{{"a", "b"}});
  CHECK(second.idle_timeout == std::chrono::minutes(10));
  CHECK(deployment.machines[2].gpu == Gpu{"", 1});
  CHECK_FALSE(deployment.machines[2].spot);
  CHECK(fault("(machine (provider \"Amazn\"))") ==
        "20: there is no provider 'Amazn' (did you mean 'Amazon'?)");
  CHECK(fault("(machine (provider \"x\"))") ==
        "20: there is no provider 'x' (there are Amazon, Google, Azure, Local)");
  CHECK(fault("(machine (role \"worker\"))") ==
        "16: a role is Master or Worker, not 'worker' (did you mean 'Worker'?)");
  CHECK_THAT(fault("(machine 5)"),
             StartsWith("1: 'machine' takes attributes of a machine, like (size \"m4.large\")"));
  CHECK(fault("(diskSize 0)") == "11: a disk has 1 to 65536 GB, not 0");
  CHECK(fault("(cpu 4 2)") == "8: 'cpu' takes the least and the most: 4 to 2 is no range");
  CHECK(fault("(idleTimeout \"soon\")").find("cannot read 'soon' as a time") != std::string::npos);
  CHECK(fault("(gpu 2000)") == "6: a machine has 0 to 1024 GPUs, not 2000");
  CHECK(fault("(machineAttribute 1 (spot))") == "19: 'machineAttribute' takes machines, not an integer: 1");
}

TEST_CASE("what rayctl reads of a spec's names", "[stitch][model]") {
  Deployment deployment =
      run("(define Namespace \"n-1\") (define AdminACL (list \"local\" \"1.2.3.4/32\")) (define MaxPrice 2)");
  CHECK(deployment.name_space == "n-1");
  CHECK(deployment.admin_acl == std::vector<std::string>{"local", "1.2.3.4/32"});
  CHECK(deployment.max_price == 2);
  CHECK(run("").name_space == "DEFAULT_NAMESPACE");
  CHECK(run("(define AdminACL (list))").admin_acl.empty());
  Deployment closed =
      run("(label \"a\" (docker \"a\")) (define Egress \"declared\") (define MetadataAccess \"a\")");
  CHECK(closed.egress == Egress::declared);
  CHECK(closed.metadata_access == std::vector<std::string>{"a"});
  CHECK(deployment_from_json(to_json(closed).dump(), "d.json").egress == Egress::declared);
  CHECK_THAT(fault("(define Egress \"shut\")"), StartsWith("16: Egress is \"open\" or \"declared\""));
  CHECK(fault("(define MetadataAccess \"b\")") ==
        "24: cannot use 'b' in MetadataAccess: there is no label of that name");
  CHECK(fault("(define Namespace 1)") == "19: Namespace is a string, not an integer");
  CHECK_THAT(fault("(define Namespace \"a b\")"), StartsWith("19: cannot use the namespace 'a b'"));
  CHECK_THAT(fault("(define AdminACL (list \"1.2.3\"))"), StartsWith("18: cannot use '1.2.3' in AdminACL"));
  CHECK_THAT(fault("(define MaxPrice \"1\")"), StartsWith("18: MaxPrice is a number"));
  CHECK_THAT(fault("(define Namespace \"CHANGE_ME\")"), StartsWith("19: 'CHANGE_ME' is a placeholder"));
  CHECK_THAT(fault("(machine (sshkey \"YOUR_PUBLIC_KEY\"))"),
             StartsWith("18: 'YOUR_PUBLIC_KEY' is a placeholder"));
}

TEST_CASE("invariants are checked", "[stitch][model]") {
  const std::string base =
      "(label \"a\" (docker \"a\")) (label \"b\" (docker \"b\")) (connect 1 \"a\" \"b\") (connect 80 "
      "\"public\" \"a\") ";
  CHECK(run(base + "(invariant reach true \"public\" \"b\") (invariant reachDirect false \"b\" \"a\")")
            .invariants.size() == 2);
  CHECK_THAT(
      fault(base + "(invariant reach false \"a\" \"b\")"),
      Contains(
          "invariant doesn't hold: reach false \"a\" \"b\": container 1 of 'a' reaches container 2 of 'b'"));
  CHECK_THAT(fault(base + "(invariant enough)"), Contains("container 1: there is no Worker"));
  CHECK(fault("(invariant rech true \"a\" \"b\")") ==
        "12: an invariant is one of reach, reachDirect, reachACL, between, enough (did you mean 'reach'?)");
  CHECK_THAT(fault(base + "(invariant reach true \"a\")"),
             Contains("invariant 'reach' takes 2 labels, not 1"));
  CHECK_THAT(fault(base + "(invariant reach \"a\" \"b\")"),
             Contains("an invariant says true or false after its form"));
}
