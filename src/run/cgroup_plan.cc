#include "run/cgroup_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"

namespace rayctl::run {

namespace {

using Version = Hierarchy::Version;
using Absent = CgroupWrite::Absent;

std::string number_or_max(int64_t value) {
  return value < 0 ? "max" : std::to_string(value);
}

// Collects the writes of one Resources.
class Planner {
 public:
  Planner(const Resources& wanted, const CgroupMounts& mounts) : wanted_(wanted), mounts_(mounts) {}

  LimitPlan plan() {
    memory();
    cpu();
    cpuset();
    pids();
    block();
    hugepages();
    network();
    rdma();
    devices();
    unified();
    return std::move(plan_);
  }

 private:
  void write(std::string controller, std::string file, std::string text, Absent absent = Absent::fail) {
    plan_.writes.push_back({std::move(controller), {{std::move(file), std::move(text)}}, absent});
  }
  void write_any(std::string controller, std::vector<CgroupFile> choices) {
    plan_.writes.push_back({std::move(controller), std::move(choices)});
  }

  // The version of the hierarchy that owns `controller`; notes `what` as missing when there is none.
  const Hierarchy* owner(std::string_view controller, std::string what) {
    const Hierarchy* h = mounts_.find(controller);
    if (!h) plan_.missing.push_back(std::move(what));
    return h;
  }

  void memory() {
    const MemoryLimits& m = wanted_.memory;
    std::optional<int64_t> swap = m.swap == 0 ? std::nullopt : m.swap;
    if (!swap && m.limit && *m.limit < 0) swap = -1;  // no limit on memory is none on memory + swap
    if (!m.limit && !m.reservation && !swap && !m.swappiness && !m.disable_oom_killer) return;
    const Hierarchy* h = owner("memory", "memory limit");
    if (!h) return;
    if (h->version == Version::v1) {
      if (m.limit) write("memory", "memory.limit_in_bytes", std::to_string(*m.limit));
      if (swap) write("memory", "memory.memsw.limit_in_bytes", std::to_string(*swap), Absent::warn);
      if (m.reservation) write("memory", "memory.soft_limit_in_bytes", std::to_string(*m.reservation));
      if (m.swappiness) write("memory", "memory.swappiness", std::to_string(*m.swappiness));
      if (m.disable_oom_killer) write("memory", "memory.oom_control", "1");
      return;
    }
    if (m.swappiness) plan_.missing.push_back("memory swappiness (cgroup v2 has none)");
    if (m.disable_oom_killer) plan_.missing.push_back("disabling the OOM killer (cgroup v2 can't)");
    if (swap && *swap >= 0) {
      if (!m.limit || *m.limit < 0 || *swap < *m.limit)
        throw Error(
            "cannot limit memory + swap to {} bytes: cgroup v2 needs a memory limit that is not larger",
            *swap);
      swap = *swap - *m.limit;
    }
    if (m.limit) write("memory", "memory.max", number_or_max(*m.limit));
    if (swap) write("memory", "memory.swap.max", number_or_max(*swap), Absent::warn);
    if (m.reservation) write("memory", "memory.low", number_or_max(*m.reservation));
  }

  void cpu() {
    const CpuLimits& c = wanted_.cpu;
    bool shares = c.shares && *c.shares > 0;
    bool realtime = c.realtime_runtime || c.realtime_period;
    if (!shares && !c.quota && !c.period && !c.burst && !realtime && !c.idle) return;
    const Hierarchy* h = owner("cpu", "cpu limit");
    if (!h) return;
    if (h->version == Version::v1) {
      if (shares) write("cpu", "cpu.shares", std::to_string(*c.shares));
      if (c.period && *c.period) write("cpu", "cpu.cfs_period_us", std::to_string(*c.period));
      if (c.quota) write("cpu", "cpu.cfs_quota_us", std::to_string(*c.quota <= 0 ? -1 : *c.quota));
      if (c.burst) write("cpu", "cpu.cfs_burst_us", std::to_string(*c.burst));
      if (c.realtime_period) write("cpu", "cpu.rt_period_us", std::to_string(*c.realtime_period));
      if (c.realtime_runtime) write("cpu", "cpu.rt_runtime_us", std::to_string(*c.realtime_runtime));
      if (c.idle) write("cpu", "cpu.idle", std::to_string(*c.idle));
      return;
    }
    if (realtime) plan_.missing.push_back("real-time cpu limit (cgroup v2 has none)");
    if (shares) write("cpu", "cpu.weight", std::to_string(cpu_weight(*c.shares)));
    if (c.quota || (c.period && *c.period))
      write("cpu", "cpu.max",
            fmt::format("{} {}", c.quota && *c.quota > 0 ? std::to_string(*c.quota) : "max",
                        c.period && *c.period ? *c.period : 100000));
    if (c.burst) write("cpu", "cpu.max.burst", std::to_string(*c.burst));
    if (c.idle) write("cpu", "cpu.idle", std::to_string(*c.idle));
  }

  void cpuset() {
    const CpuLimits& c = wanted_.cpu;
    if (c.cpus.empty() && c.mems.empty()) return;
    if (!owner("cpuset", "cpuset")) return;
    if (!c.cpus.empty()) write("cpuset", "cpuset.cpus", c.cpus);
    if (!c.mems.empty()) write("cpuset", "cpuset.mems", c.mems);
  }

  void pids() {
    if (!wanted_.pids_limit || !owner("pids", "pids limit")) return;
    write("pids", "pids.max", *wanted_.pids_limit <= 0 ? "max" : std::to_string(*wanted_.pids_limit));
  }

  void block() {
    const BlockLimits& b = wanted_.block;
    if (!b.weight && !b.leaf_weight && b.device_weights.empty() && b.read_bps.empty() &&
        b.write_bps.empty() && b.read_iops.empty() && b.write_iops.empty())
      return;
    if (mounts_.find("blkio")) return block_v1(b);
    if (!owner("io", "block I/O limit")) return;
    if (b.leaf_weight) plan_.missing.push_back("block I/O leaf weight (cgroup v2 has none)");
    if (b.weight && *b.weight) io_weight("", *b.weight);
    for (const BlockDeviceWeight& d : b.device_weights)
      if (d.weight && *d.weight) io_weight(fmt::format("{}:{} ", d.major, d.minor), *d.weight);
    auto rates = [&](const std::vector<BlockDeviceRate>& list, const char* key) {
      for (const BlockDeviceRate& r : list)
        write("io", "io.max",
              fmt::format("{}:{} {}={}", r.major, r.minor, key, r.rate ? std::to_string(r.rate) : "max"));
    };
    rates(b.read_bps, "rbps");
    rates(b.write_bps, "wbps");
    rates(b.read_iops, "riops");
    rates(b.write_iops, "wiops");
  }

  // BFQ takes v1's 10 … 1000 (as 1 … 1000), the generic controller 1 … 10000.
  void io_weight(const std::string& device, uint16_t weight) {
    uint64_t generic = 1 + (uint64_t{std::max<uint16_t>(weight, 10)} - 10) * 9999 / 990;
    write_any("io", {{"io.bfq.weight", fmt::format("{}{}", device, weight)},
                     {"io.weight", fmt::format("{}{}", device, generic)}});
  }

  void block_v1(const BlockLimits& b) {
    auto pair = [&](const char* file, const char* bfq, std::string text) {
      std::vector<CgroupFile> choices{{file, text}};
      if (bfq) choices.push_back({bfq, std::move(text)});
      write_any("blkio", std::move(choices));
    };
    if (b.weight && *b.weight) pair("blkio.weight", "blkio.bfq.weight", std::to_string(*b.weight));
    if (b.leaf_weight) pair("blkio.leaf_weight", nullptr, std::to_string(*b.leaf_weight));
    for (const BlockDeviceWeight& d : b.device_weights) {
      if (d.weight && *d.weight)
        pair("blkio.weight_device", "blkio.bfq.weight_device",
             fmt::format("{}:{} {}", d.major, d.minor, *d.weight));
      if (d.leaf_weight)
        pair("blkio.leaf_weight_device", nullptr, fmt::format("{}:{} {}", d.major, d.minor, *d.leaf_weight));
    }
    auto rates = [&](const std::vector<BlockDeviceRate>& list, const char* file) {
      for (const BlockDeviceRate& r : list)
        write("blkio", file, fmt::format("{}:{} {}", r.major, r.minor, r.rate));
    };
    rates(b.read_bps, "blkio.throttle.read_bps_device");
    rates(b.write_bps, "blkio.throttle.write_bps_device");
    rates(b.read_iops, "blkio.throttle.read_iops_device");
    rates(b.write_iops, "blkio.throttle.write_iops_device");
  }

  void hugepages() {
    if (wanted_.hugepages.empty()) return;
    const Hierarchy* h = owner("hugetlb", "hugepage limit");
    if (!h) return;
    const char* suffix = h->version == Version::v1 ? "limit_in_bytes" : "max";
    for (const HugepageLimit& limit : wanted_.hugepages) {
      if (limit.page_size.find('/') != std::string::npos)
        throw Error("cannot limit hugepages of size '{}': not a page size", limit.page_size);
      std::string text = std::to_string(limit.limit);
      write("hugetlb", fmt::format("hugetlb.{}.{}", limit.page_size, suffix), text);
      // Also what is reserved but not touched; since Linux 5.7.
      write("hugetlb", fmt::format("hugetlb.{}.rsvd.{}", limit.page_size, suffix), text, Absent::skip);
    }
  }

  void network() {
    const NetworkLimits& n = wanted_.network;
    if (n.class_id && owner("net_cls", "network class (a cgroup v1 controller)"))
      write("net_cls", "net_cls.classid", std::to_string(*n.class_id));
    if (!n.priorities.empty() && owner("net_prio", "network priority (a cgroup v1 controller)"))
      for (const auto& [name, priority] : n.priorities)
        write("net_prio", "net_prio.ifpriomap", fmt::format("{} {}", name, priority));
  }

  void rdma() {
    if (wanted_.rdma.empty() || !owner("rdma", "RDMA limit")) return;
    for (const auto& [device, limit] : wanted_.rdma) {
      std::string text = device;
      if (limit.handles) text += fmt::format(" hca_handle={}", *limit.handles);
      if (limit.objects) text += fmt::format(" hca_object={}", *limit.objects);
      write("rdma", "rdma.max", text);
    }
  }

  void devices() {
    if (wanted_.devices.empty()) return;
    if (mounts_.find("devices")) {
      for (CgroupFile& file : legacy_device_rules(wanted_.devices))
        write("devices", std::move(file.name), std::move(file.text));
    } else if (mounts_.unified()) {
      plan_.device_program = true;
    } else {
      plan_.missing.push_back("device access control");
    }
  }

  void unified() {
    for (const auto& [file, text] : wanted_.unified) {
      if (file.find('/') != std::string::npos || file.find('.') == std::string::npos)
        throw Error("cannot set cgroup file '{}': not the name of a cgroup v2 file", file);
      std::string controller = file.substr(0, file.find('.'));
      const Hierarchy* v2 = mounts_.unified();
      if (!v2 || (controller != "cgroup" && !v2->has(controller))) {
        plan_.missing.push_back(
            fmt::format("'{}' (cgroup v2 has no controller '{}' here)", file, controller));
        continue;
      }
      for (size_t start = 0; start <= text.size();) {  // one write a line: io.max takes one device at a time
        size_t end = std::min(text.find('\n', start), text.size());
        if (end > start || text.empty()) write(controller, file, text.substr(start, end - start));
        start = end + 1;
      }
    }
  }

  const Resources& wanted_;
  const CgroupMounts& mounts_;
  LimitPlan plan_;
};

std::string legacy_text(const DeviceRule& rule) {
  auto part = [](const std::optional<int64_t>& n) { return n ? std::to_string(*n) : std::string("*"); };
  return fmt::format("{} {}:{} {}", rule.type, part(rule.major), part(rule.minor), rule.access);
}

bool covers(const DeviceRule& wide, const DeviceRule& narrow) {
  return wide.type == narrow.type && (!wide.major || wide.major == narrow.major) &&
         (!wide.minor || wide.minor == narrow.minor);
}

bool overlaps(const DeviceRule& a, const DeviceRule& b) {
  return a.type == b.type && (!a.major || !b.major || a.major == b.major) &&
         (!a.minor || !b.minor || a.minor == b.minor) &&
         a.access.find_first_of(b.access) != std::string::npos;
}

}  // namespace

LimitPlan plan_limits(const Resources& resources, const CgroupMounts& mounts) {
  return Planner(resources, mounts).plan();
}

uint64_t cpu_weight(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  double l = std::log2(static_cast<double>(shares));
  double weight = std::pow(10.0, (l * l + 125 * l) / 612.0 - 7.0 / 34.0);
  return static_cast<uint64_t>(std::ceil(weight - 1e-9));
}

std::vector<CgroupFile> legacy_device_rules(const std::vector<DeviceRule>& rules) {
  std::vector<CgroupFile> files;
  std::vector<DeviceRule> exceptions;  // what the kernel holds beside its default
  bool default_allow = true;
  auto add = [&](const DeviceRule& rule) {
    if (rule.allow == default_allow) {
      // The kernel removes an exception only when it names the same device.
      for (const DeviceRule& e : exceptions)
        if (overlaps(e, rule) && !covers(rule, e))
          throw Error("cannot express device rule '{} {}' on cgroup v1: '{}' stands against it",
                      rule.allow ? "allow" : "deny", legacy_text(rule), legacy_text(e));
      std::vector<DeviceRule> kept;
      for (DeviceRule& e : exceptions) {
        if (!overlaps(e, rule)) {
          kept.push_back(e);
          continue;
        }
        DeviceRule same = e;
        same.access = rule.access;
        files.push_back({rule.allow ? "devices.allow" : "devices.deny", legacy_text(same)});
        std::erase_if(e.access, [&](char c) { return rule.access.find(c) != std::string::npos; });
        if (!e.access.empty()) kept.push_back(e);
      }
      exceptions = std::move(kept);
      return;
    }
    files.push_back({rule.allow ? "devices.allow" : "devices.deny", legacy_text(rule)});
    exceptions.push_back(rule);
  };
  for (DeviceRule rule : rules) {
    if (rule.type == 'u') rule.type = 'c';
    if (rule.type != 'a') {
      add(rule);
    } else if (rule.major || rule.minor || rule.access.find_first_not_of("rwm") != std::string::npos ||
               rule.access.size() < 3) {
      for (char type : {'c', 'b'}) {
        rule.type = type;
        add(rule);
      }
    } else {
      files.push_back({rule.allow ? "devices.allow" : "devices.deny", "a"});
      exceptions.clear();
      default_allow = rule.allow;
    }
  }
  return files;
}

}  // namespace rayctl::run
