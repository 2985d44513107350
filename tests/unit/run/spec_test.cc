#include "run/spec.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/defaults.h"
#include "run/plan.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

// Compares with tests/golden/run/NAME; RAYCTL_ACCEPT=1 rewrites it.
void check_golden(const std::string& name, const std::string& text) {
  std::string path = "tests/golden/run/" + name;
  if (std::getenv("RAYCTL_ACCEPT")) replace_file(path, text);
  CHECK(text == read_file(path));
}

Spec parse(const std::string& text) {
  return parse_spec(Json::parse(text, "config.json"));
}

// A valid document with `linux` members and others added.
std::string document(const std::string& linux_members, const std::string& others = "") {
  return R"({"ociVersion":"1.0.2","root":{"path":"r"},"linux":{"namespaces":[{"type":"mount"}])" +
         (linux_members.empty() ? "" : "," + linux_members) + "}" + (others.empty() ? "" : "," + others) +
         "}";
}

Defaults example() {
  Defaults defaults{.overlay = Overlay{{"/l/1", "/l/2"}, "/c/upper", "/c/work"},
                    .args = {"run", "head"},
                    .env = {"HOME=/home/ray"},
                    .cwd = "/home/ray",
                    .user = {.uid = 1000, .gid = 100},
                    .hostname = "0123456789ab",
                    .network = NetworkMode::join,
                    .network_namespace = "/run/rayctl/netns/x",
                    .cgroups_path = "/rayctl-node/x",
                    .shm_size = 1 << 30,
                    .init_binary = "/run/rayctl/sealed/rayctl",
                    .binds = {{"/c/hosts", "/etc/hosts"}},
                    .rlimits = {{"RLIMIT_NOFILE", 65535, 65535}}};
  defaults.resources.memory.limit = 4LL << 30;
  defaults.resources.cpu.quota = 150000;
  defaults.resources.cpu.period = 100000;
  return defaults;
}

}  // namespace

TEST_CASE("the container of docker, as a document and as a plan") {
  Spec spec = default_spec(example());
  check_golden("default.json", to_text(spec));
  check_golden("default.plan", describe(make_plan(spec, "/c")));
}

TEST_CASE("every field survives being written and read") {
  Spec spec = parse(read_file("tests/golden/run/everything.json"));
  check_golden("everything.out.json", to_text(spec));
  CHECK(to_text(parse(to_text(spec))) == to_text(spec));
  check_golden("everything.plan", describe(make_plan(spec, "/bundle")));
}

TEST_CASE("a read-only tmpfs is made read-only once it is filled") {
  auto plan = [](const std::string& destination) {
    Spec spec = parse(document(
        "", R"("mounts":[{"destination":")" + destination + R"(","type":"tmpfs","options":["ro"]}])"));
    return describe(make_plan(spec, "/"));
  };
  CHECK_THAT(plan("/dev"), Catch::Contains("mount tmpfs tmpfs on /dev -\n") &&
                               Catch::Contains("symlink /dev/ptmx -> pts/ptmx\nremount /dev ro\n"));
  CHECK_THAT(plan("/empty"),
             Catch::Contains("mount tmpfs tmpfs on /empty ro\n") && !Catch::Contains("remount"));
}

TEST_CASE("what rayctl can't do is refused by name, with the path") {
  auto refused = [](const std::string& text, const std::string& message) {
    CHECK_THROWS_WITH(parse(text), Catch::Contains(message));
  };
  refused(R"({"ociVersion":"2.0.0"})", "config.json.ociVersion: '2.0.0' is not supported: it must be 1.x");
  refused(R"({"ociVersion":"1.0.0"})", "config.json.root: missing");
  refused(document(R"("intelRdt":{})"), "config.json.linux.intelRdt: not supported");
  refused(document(R"("netDevices":{})"), "config.json.linux.netDevices: not supported");
  refused(document("", R"("vm":{})"), "config.json.vm: not supported");
  refused(document("", R"("process":{"execCPUAffinity":{}})"),
          "config.json.process.execCPUAffinity: not supported");
  refused(document("", R"("mounts":[{"destination":"/a","uidMappings":[]}])"),
          "mounts[0].uidMappings: not supported");
  refused(document(R"("seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"x"})"),
          "seccomp.listenerPath: 'x' is not an absolute path");
  refused(document(R"("seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"})"),
          "seccomp.listenerMetadata: it needs listenerPath");
  refused(document(R"("resources":{"memory":{"kernel":"1"}})"), "memory.kernel");
  refused(document(R"("personality":{"domain":"LINUX","flags":["X"]})"), "personality flags");
  refused(document("", R"("hostname":"a")"), "config.json.hostname: it needs a uts namespace");
  refused(document(R"("uidMappings":[{"containerID":0,"hostID":0,"size":1}])"),
          "id mappings need a user namespace");
  refused(document(R"("rootfsPropagation":"up")"), "rootfsPropagation: unknown value 'up'");
  refused(document("", R"("rayctl":{"overlay":{"lowerdirs":["/a"],"upper":"/u"}})"),
          "'upper' and 'work' go together");
  refused(document("", R"("rayctl":{"nosuch":1})"), "nosuch");
}

TEST_CASE("values out of range are refused") {
  auto refused = [](const std::string& text, const std::string& message) {
    CHECK_THROWS_WITH(parse(text), Catch::Contains(message));
  };
  auto process = [](const std::string& members) { return document("", R"("process":{)" + members + "}"); };
  refused(process(R"("user":{"uid":4294967296})"), "process.user.uid: 4294967296 is out of range");
  refused(process(R"("user":{"uid":4294967295})"), "process.user.uid: 4294967295 is no user or group id");
  refused(process(R"("user":{"gid":-1})"), "process.user.gid: expected a whole number >= 0");
  refused(process(R"("user":{"umask":512})"), "umask");
  refused(process(R"("args":["a\u0000b"])"), "process.args[0]: it holds a NUL byte");
  refused(process(R"("cwd":"a")"), "'a' is not an absolute path");
  refused(process(R"("oomScoreAdj":1001)"), "oomScoreAdj");
  refused(process(R"("consoleSize":{"height":65536})"), "out of range");
  refused(process(R"("rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}])"),
          "soft limit 2 is more than hard limit 1");
  refused(process(R"("rlimits":[{"type":"A","soft":1,"hard":1},{"type":"A","soft":1,"hard":1}])"),
          "appears twice");
  refused(document(R"("namespaces":[])"), "appears twice");
  refused(document(R"("devices":[{"type":"c","path":"/dev/a","major":-1,"minor":0}])"), "no device number");
  refused(document(R"("devices":[{"type":"x","path":"/dev/a"}])"), "not one of c, b, u, p");
  refused(document(R"("resources":{"unified":{"../x":"1"}})"), "not the name of a cgroup file");
  refused(document(R"("timeOffsets":{"realtime":{}})"), "unknown clock");
  refused(document("", R"("hooks":{"prestart":[{"path":"x"}]})"), "not an absolute path");
  refused(document("", R"("hooks":{"prestart":[{"path":"/x","timeout":0}]})"), "not greater than 0");
}

TEST_CASE("unknown members are ignored and unknown capabilities are remembered") {
  Spec spec =
      parse(document(R"("future":1)", R"("process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_NEW"]}})"));
  CHECK(spec.process.capabilities->bounding == 1);
  CHECK(spec.process.unknown_capabilities == std::vector<std::string>{"CAP_NEW"});
}

TEST_CASE("capabilities have numbers and names") {
  CHECK(capability_number("CAP_SYS_ADMIN") == 21);
  CHECK(capability_number("sys_admin") == 21);
  CHECK(capability_number("CAP_") == std::nullopt);
  CHECK(capability_names(1 | uint64_t{1} << 40) ==
        std::vector<std::string>{"CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"});
  CHECK(capability_names(default_capabilities()).size() == 14);
}

TEST_CASE("sysctls are those of the container's own namespaces") {
  Spec spec = default_spec({});
  CHECK(sysctl_path(spec, "net.ipv4.ip_forward") == "net/ipv4/ip_forward");
  CHECK(sysctl_path(spec, "net/ipv4/conf/eth0.100/forwarding") == "net/ipv4/conf/eth0.100/forwarding");
  CHECK(sysctl_path(spec, "net.ipv4.conf.eth0/100.forwarding") == "net/ipv4/conf/eth0.100/forwarding");
  CHECK(sysctl_path(spec, "fs.mqueue.msg_max") == "fs/mqueue/msg_max");
  for (const char* name :
       {"kernel.core_pattern", "vm.swappiness", "net/../kernel/sysrq", "/net/x", "", "net.", "net//x"})
    CHECK_THROWS_WITH(sysctl_path(spec, name), Catch::StartsWith("cannot set sysctl '"));
  spec.linux_.namespaces = {{NamespaceType::mount}};
  CHECK_THROWS_WITH(sysctl_path(spec, "net.ipv4.ip_forward"),
                    Catch::Contains("it needs a network namespace"));
}

TEST_CASE("paths are cleaned without looking at the disk") {
  CHECK(clean_path("") == "/");
  CHECK(clean_path("/a//b/./c/") == "/a/b/c");
  CHECK(clean_path("/../../a/../b") == "/b");
}
