#include <catch2/catch.hpp>

#include "base/error.h"
#include "run/cgroup_devices.h"
#include "run/cgroup_mounts.h"
#include "run/cgroup_plan.h"

using namespace rayctl;
using namespace rayctl::run;
using Version = Hierarchy::Version;

namespace {

constexpr const char* hybrid_mounts =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
constexpr const char* hybrid_own =
    "9:name=systemd:/\n6:devices:/\n4:memory:/api/5ed\n1:cpu,cpuacct:/\n0::/init.scope\n";

CgroupMounts v2(std::vector<std::string> controllers) {
  return {{{.version = Version::v2, .mount = "/sys/fs/cgroup", .controllers = std::move(controllers)}}};
}

CgroupMounts v1() {
  CgroupMounts mounts;
  for (const char* name : {"cpu", "cpuset", "memory", "pids", "devices", "blkio", "hugetlb", "net_cls"})
    mounts.hierarchies.push_back(
        {.version = Version::v1, .mount = std::string("/sys/fs/cgroup/") + name, .controllers = {name}});
  return mounts;
}

std::string text_of(const LimitPlan& plan) {
  std::string text;
  for (const CgroupWrite& w : plan.writes) {
    for (size_t i = 0; i < w.choices.size(); ++i)
      text += (i ? " or " : "") + w.choices[i].name + " = " + w.choices[i].text;
    text += "\n";
  }
  for (const std::string& m : plan.missing) text += "missing: " + m + "\n";
  return text;
}

Resources typical() {
  Resources r;
  r.memory = {.limit = 4 << 20, .reservation = 1 << 20, .swap = 6 << 20};
  r.cpu = {.shares = 1024, .quota = 150000, .period = 100000, .cpus = "0-1", .mems = "0"};
  r.pids_limit = 100;
  r.hugepages = {{"2MB", 2 << 20}};
  r.block.weight = 500;
  r.block.read_bps = {{8, 0, 1000}};
  return r;
}

// The few instructions that device_program() emits.
bool allowed(const std::vector<bpf_insn>& program, char type, char access, uint32_t major, uint32_t minor) {
  uint64_t r[11] = {};
  int what = access == 'r' ? BPF_DEVCG_ACC_READ : access == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  int kind = type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;
  bpf_cgroup_dev_ctx context{
      .access_type = static_cast<uint32_t>(what << 16 | kind), .major = major, .minor = minor};
  for (size_t at = 0; at < program.size(); ++at) {
    const bpf_insn& i = program[at];
    switch (i.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        r[i.dst_reg] = *reinterpret_cast<const uint32_t*>(reinterpret_cast<const char*>(&context) + i.off);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        r[i.dst_reg] = static_cast<uint32_t>(r[i.dst_reg]) & static_cast<uint32_t>(i.imm);
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        r[i.dst_reg] = static_cast<uint32_t>(r[i.dst_reg]) >> i.imm;
        break;
      case BPF_ALU | BPF_MOV | BPF_K:
        r[i.dst_reg] = static_cast<uint32_t>(i.imm);
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        r[i.dst_reg] = static_cast<uint32_t>(r[i.src_reg]);
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        if (r[i.dst_reg] != static_cast<uint64_t>(i.imm)) at += static_cast<size_t>(i.off);
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        if (r[i.dst_reg] == static_cast<uint64_t>(i.imm)) at += static_cast<size_t>(i.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return r[0] != 0;
      default:
        FAIL("unexpected instruction " << int{i.code});
    }
  }
  FAIL("the program has no end");
  return false;
}

}  // namespace

TEST_CASE("hierarchies are found in mountinfo", "[cgroup]") {
  CgroupMounts found = parse_cgroup_mounts(hybrid_mounts, hybrid_own);
  REQUIRE(found.hierarchies.size() == 5);
  CHECK(found.find("cpuacct")->mount == "/sys/fs/cgroup/cpu");
  CHECK(found.find("memory")->own == "/api/5ed");
  CHECK(found.find("name=systemd")->mount == "/sys/fs/cgroup/systemd");
  CHECK(found.unified()->mount == "/sys/fs/cgroup/unified");
  CHECK(found.unified()->own == "/init.scope");
  CHECK(found.find("rdma") == nullptr);
  CHECK(found.legacy());
  CHECK(found.legacy_controllers() == std::vector<std::string>{"cpu", "cpuacct", "memory", "devices"});
}

TEST_CASE("a tree mounted twice counts where it shows most; names are unescaped", "[cgroup]") {
  CgroupMounts found = parse_cgroup_mounts(
      "1 0 0:1 /docker/x /mnt/my\\040cgroup rw - cgroup2 none rw\n2 0 0:1 / /sys/fs/cgroup rw - cgroup2 none "
      "rw\n"
      "3 0 0:1 /y /other rw - cgroup2 none rw\nrubbish\n4 0 0:1 / /x rw - ext4 none rw\n",
      "0::/docker/x\n");
  REQUIRE(found.hierarchies.size() == 1);
  CHECK(found.hierarchies[0].mount == "/sys/fs/cgroup");
  CHECK_FALSE(found.legacy());
  found =
      parse_cgroup_mounts("1 0 0:1 /docker/x /mnt/my\\040cgroup rw - cgroup2 none rw\n", "0::/docker/x\n");
  REQUIRE(found.hierarchies.size() == 1);
  CHECK(found.hierarchies[0].directory("/docker/x/a") == "/mnt/my cgroup/a");
  CHECK(found.hierarchies[0].directory("/docker/xyz") == "/mnt/my cgroup/docker/xyz");
  CHECK(found.hierarchies[0].directory("/docker/x") == "/mnt/my cgroup");
}

TEST_CASE("limits become v2 files", "[cgroup]") {
  LimitPlan plan = plan_limits(typical(), v2({"memory", "cpu", "cpuset", "pids", "io", "hugetlb"}));
  CHECK(text_of(plan) ==
        "memory.max = 4194304\nmemory.swap.max = 2097152\nmemory.low = 1048576\ncpu.weight = 100\n"
        "cpu.max = 150000 100000\ncpuset.cpus = 0-1\ncpuset.mems = 0\npids.max = 100\n"
        "io.bfq.weight = 500 or io.weight = 4950\nio.max = 8:0 rbps=1000\nhugetlb.2MB.max = 2097152\n"
        "hugetlb.2MB.rsvd.max = 2097152\n");
}

TEST_CASE("limits become v1 files", "[cgroup]") {
  CHECK(text_of(plan_limits(typical(), v1())) ==
        "memory.limit_in_bytes = 4194304\nmemory.memsw.limit_in_bytes = 6291456\n"
        "memory.soft_limit_in_bytes = 1048576\ncpu.shares = 1024\ncpu.cfs_period_us = 100000\n"
        "cpu.cfs_quota_us = 150000\ncpuset.cpus = 0-1\ncpuset.mems = 0\npids.max = 100\n"
        "blkio.weight = 500 or blkio.bfq.weight = 500\nblkio.throttle.read_bps_device = 8:0 1000\n"
        "hugetlb.2MB.limit_in_bytes = 2097152\nhugetlb.2MB.rsvd.limit_in_bytes = 2097152\n");
}

TEST_CASE("each controller is looked for in its own hierarchy", "[cgroup]") {
  CgroupMounts hybrid = v1();
  std::erase_if(hybrid.hierarchies, [](const Hierarchy& h) { return h.has("hugetlb"); });
  hybrid.hierarchies.push_back(
      {.version = Version::v2, .mount = "/sys/fs/cgroup/unified", .controllers = {"hugetlb"}});
  Resources r;
  r.hugepages = {{"1GB", 0}};
  r.memory.limit = 1000;
  r.unified = {{"hugetlb.2MB.max", "5"}, {"memory.high", "1"}};
  CHECK(text_of(plan_limits(r, hybrid)) ==
        "memory.limit_in_bytes = 1000\nhugetlb.1GB.max = 0\nhugetlb.1GB.rsvd.max = 0\nhugetlb.2MB.max = 5\n"
        "missing: 'memory.high' (cgroup v2 has no controller 'memory' here)\n");
}

TEST_CASE("unlimited and absent values", "[cgroup]") {
  Resources r;
  r.memory.limit = -1;
  r.cpu.quota = -1;
  r.pids_limit = 0;
  CHECK(text_of(plan_limits(r, v2({"memory", "cpu", "pids"}))) ==
        "memory.max = max\nmemory.swap.max = max\ncpu.max = max 100000\npids.max = max\n");
  CHECK(text_of(plan_limits(r, v1())) ==
        "memory.limit_in_bytes = -1\nmemory.memsw.limit_in_bytes = -1\ncpu.cfs_quota_us = -1\npids.max = "
        "max\n");
  CHECK(text_of(plan_limits({}, v1())).empty());
}

TEST_CASE("what the machine can't limit is named", "[cgroup]") {
  Resources r = typical();
  r.network.class_id = 1;
  r.cpu.realtime_runtime = 5;
  r.memory.swappiness = 1;
  LimitPlan plan = plan_limits(r, v2({"cpu", "memory"}));
  CHECK(plan.missing == std::vector<std::string>{"memory swappiness (cgroup v2 has none)",
                                                 "real-time cpu limit (cgroup v2 has none)", "cpuset",
                                                 "pids limit", "block I/O limit", "hugepage limit",
                                                 "network class (a cgroup v1 controller)"});
  r = {};
  r.memory.swap = 5;
  CHECK_THROWS_WITH(
      plan_limits(r, v2({"memory"})),
      "cannot limit memory + swap to 5 bytes: cgroup v2 needs a memory limit that is not larger");
  r = {};
  r.unified = {{"../memory.max", "1"}};
  CHECK_THROWS_WITH(plan_limits(r, v2({"memory"})),
                    "cannot set cgroup file '../memory.max': not the name of a cgroup v2 file");
}

TEST_CASE("shares become weights", "[cgroup]") {
  CHECK(cpu_weight(0) == 1);
  CHECK(cpu_weight(2) == 1);
  CHECK(cpu_weight(1024) == 100);
  CHECK(cpu_weight(262144) == 10000);
  CHECK(cpu_weight(1'000'000) == 10000);
  for (uint64_t shares = 2; shares < 262144; shares *= 2) CHECK(cpu_weight(shares) <= cpu_weight(shares * 2));
}

TEST_CASE("the device program follows the last rule for each kind of access", "[cgroup]") {
  std::vector<DeviceRule> rules{{.allow = false},
                                {.allow = true, .type = 'c', .access = "m"},
                                {.allow = true, .type = 'c', .major = 1, .minor = 3},
                                {.allow = true, .type = 'c', .major = 136},
                                {.allow = true, .type = 'b', .major = 8, .access = "r"},
                                {.allow = false, .type = 'c', .major = 136, .minor = 7, .access = "w"}};
  auto program = device_program(rules);
  CHECK(allowed(program, 'c', 'r', 1, 3));
  CHECK_FALSE(allowed(program, 'c', 'r', 1, 1));
  CHECK(allowed(program, 'c', 'm', 1, 1));
  CHECK_FALSE(allowed(program, 'b', 'm', 1, 1));
  CHECK(allowed(program, 'c', 'w', 136, 6));
  CHECK_FALSE(allowed(program, 'c', 'w', 136, 7));
  CHECK(allowed(program, 'c', 'r', 136, 7));
  CHECK(allowed(program, 'b', 'r', 8, 0));
  CHECK_FALSE(allowed(program, 'b', 'w', 8, 0));
  CHECK(allowed(device_program({}), 'b', 'w', 8, 0));
  CHECK_THROWS_WITH(device_program({{.allow = true, .type = 'c', .major = int64_t{1} << 40}}),
                    "cannot filter device number 1099511627776: out of range");
}

TEST_CASE("device rules on v1", "[cgroup]") {
  auto text = [](const std::vector<DeviceRule>& rules) {
    std::string text;
    for (const CgroupFile& f : legacy_device_rules(rules)) text += f.name.substr(8) + ":" + f.text + "|";
    return text;
  };
  CHECK(text({{.allow = false},
              {.allow = true, .type = 'u', .major = 1, .minor = 3},
              {.allow = true, .type = 'a', .major = 9, .access = "rm"}}) ==
        "deny:a|allow:c 1:3 rwm|allow:c 9:* rm|allow:b 9:* rm|");
  // A wider denial after narrower permissions: the kernel removes only exact matches.
  CHECK(text({{.allow = false},
              {.allow = true, .type = 'c', .major = 1, .minor = 3},
              {.allow = false, .type = 'c', .major = 1, .access = "w"}}) ==
        "deny:a|allow:c 1:3 rwm|deny:c 1:3 w|");
  CHECK_THROWS_WITH(text({{.allow = false},
                          {.allow = true, .type = 'c'},
                          {.allow = false, .type = 'c', .major = 1, .minor = 3, .access = "w"}}),
                    "cannot express device rule 'deny c 1:3 w' on cgroup v1: 'c *:* rwm' stands against it");
}
