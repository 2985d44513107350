// `linux.resources` between JSON and data.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "run/spec.h"
#include "run/spec_fields.h"

namespace rayctl::run {

namespace {

using fields::number;
using fields::refuse;

template <class T>
void read(const Json& object, std::string_view key, std::optional<T>& into) {
  if (auto found = object.find(key)) into = number<T>(*found);
}

MemoryLimits parse_memory(const Json& object) {
  // Kernel memory counts against `limit` since Linux 5.16, which has no limit of its own for it: the
  // specification marks both keys as not recommended, and engines that still send them mean no harm.
  for (const char* gone : {"kernel", "kernelTCP"})
    if (auto value = object.find(gone)) {
      number<int64_t>(*value);
      warn("{}: this kernel has no such limit: kernel memory counts against the memory limit", value->path());
    }
  MemoryLimits memory;
  read(object, "limit", memory.limit);
  read(object, "reservation", memory.reservation);
  read(object, "swap", memory.swap);
  read(object, "swappiness", memory.swappiness);
  memory.disable_oom_killer = object.boolean_or("disableOOMKiller", false);
  memory.check_before_update = object.boolean_or("checkBeforeUpdate", false);
  // useHierarchy needs nothing: every kernel since 5.11 always accounts hierarchically.
  return memory;
}

CpuLimits parse_cpu(const Json& object) {
  CpuLimits cpu;
  read(object, "shares", cpu.shares);
  read(object, "quota", cpu.quota);
  read(object, "period", cpu.period);
  read(object, "burst", cpu.burst);
  read(object, "realtimeRuntime", cpu.realtime_runtime);
  read(object, "realtimePeriod", cpu.realtime_period);
  read(object, "idle", cpu.idle);
  cpu.cpus = object.string_or("cpus", "");
  cpu.mems = object.string_or("mems", "");
  return cpu;
}

std::vector<BlockDeviceRate> parse_rates(const Json& object, std::string_view key) {
  std::vector<BlockDeviceRate> rates;
  if (auto list = object.find(key))
    for (const Json& item : list->items())
      rates.push_back({number<int64_t>(item.at("major")), number<int64_t>(item.at("minor")),
                       number<uint64_t>(item.at("rate"))});
  return rates;
}

BlockLimits parse_block(const Json& object) {
  BlockLimits block;
  read(object, "weight", block.weight);
  read(object, "leafWeight", block.leaf_weight);
  if (auto list = object.find("weightDevice")) {
    for (const Json& item : list->items()) {
      BlockDeviceWeight weight{number<int64_t>(item.at("major")), number<int64_t>(item.at("minor"))};
      read(item, "weight", weight.weight);
      read(item, "leafWeight", weight.leaf_weight);
      block.device_weights.push_back(weight);
    }
  }
  block.read_bps = parse_rates(object, "throttleReadBpsDevice");
  block.write_bps = parse_rates(object, "throttleWriteBpsDevice");
  block.read_iops = parse_rates(object, "throttleReadIOPSDevice");
  block.write_iops = parse_rates(object, "throttleWriteIOPSDevice");
  return block;
}

DeviceRule parse_rule(const Json& object) {
  DeviceRule rule{.allow = object.at("allow").boolean()};
  std::string type = object.string_or("type", "a");
  if (type != "a" && type != "b" && type != "c" && type != "u")
    throw Error("{}.type: '{}' is not one of a, b, c, u", object.path(), type);
  rule.type = type == "u" ? 'c' : type[0];
  auto device_number = [&](std::string_view key, std::optional<int64_t>& into) {
    read(object, key, into);
    if (into && (*into < -1 || *into > 0xffffffff))
      throw Error("{}.{}: {} is no device number", object.path(), key, *into);
    if (into == -1) into.reset();  // engines write -1 for "all"
  };
  device_number("major", rule.major);
  device_number("minor", rule.minor);
  rule.access = object.string_or("access", "rwm");
  if (rule.access.empty()) rule.access = "rwm";
  if (rule.access.find_first_not_of("rwm") != std::string::npos)
    throw Error("{}.access: '{}' has other letters than r, w, m", object.path(), rule.access);
  return rule;
}

// One file name in the container's own cgroup directory: nothing that leads out of it.
void check_unified_name(const std::string& name, const std::string& path) {
  if (name.empty() || name.find('/') != std::string::npos || name == "." || name == "..")
    throw Error("{}: '{}' is not the name of a cgroup file", path, name);
}

template <class T>
void put(nlohmann::json& object, const char* key, const std::optional<T>& value) {
  if (value) object[key] = *value;
}

template <class T>
void put_list(nlohmann::json& object, const char* key, const std::vector<T>& list) {
  for (const auto& item : list)
    object[key].push_back({{"major", item.major}, {"minor", item.minor}, {"rate", item.rate}});
}

void put_object(nlohmann::json& object, const char* key, nlohmann::json value) {
  if (!value.empty()) object[key] = std::move(value);
}

}  // namespace

Resources parse_resources(const Json& object) {
  Resources found;
  if (auto v = object.find("memory")) found.memory = parse_memory(*v);
  if (auto v = object.find("cpu")) found.cpu = parse_cpu(*v);
  if (auto v = object.find("pids")) read(*v, "limit", found.pids_limit);
  if (auto v = object.find("blockIO")) found.block = parse_block(*v);
  if (auto list = object.find("hugepageLimits"))
    for (const Json& item : list->items())
      found.hugepages.push_back({item.at("pageSize").string(), item.at("limit").size()});
  for (const HugepageLimit& limit : found.hugepages)
    if (limit.page_size.empty() || limit.page_size.find_first_not_of("0123456789KMGB") != std::string::npos)
      throw Error("{}.hugepageLimits: '{}' is no page size such as 2MB", object.path(), limit.page_size);
  if (auto v = object.find("network")) {
    read(*v, "classID", found.network.class_id);
    if (auto list = v->find("priorities"))
      for (const Json& item : list->items())
        found.network.priorities[item.at("name").string()] = number<uint32_t>(item.at("priority"));
  }
  if (auto v = object.find("rdma")) {
    for (const auto& [device, limits] : v->members()) {
      read(limits, "hcaHandles", found.rdma[device].handles);
      read(limits, "hcaObjects", found.rdma[device].objects);
    }
  }
  if (auto list = object.find("devices"))
    for (const Json& item : list->items()) found.devices.push_back(parse_rule(item));
  if (auto v = object.find("unified")) {
    found.unified = v->string_map();
    for (const auto& entry : found.unified) check_unified_name(entry.first, v->path());
  }
  return found;
}

nlohmann::json to_json(const Resources& resources) {
  using nlohmann::json;
  json out = json::object(), memory = json::object(), cpu = json::object(), block = json::object();
  put(memory, "limit", resources.memory.limit);
  put(memory, "reservation", resources.memory.reservation);
  put(memory, "swap", resources.memory.swap);
  put(memory, "swappiness", resources.memory.swappiness);
  if (resources.memory.disable_oom_killer) memory["disableOOMKiller"] = true;
  if (resources.memory.check_before_update) memory["checkBeforeUpdate"] = true;
  put(cpu, "shares", resources.cpu.shares);
  put(cpu, "quota", resources.cpu.quota);
  put(cpu, "period", resources.cpu.period);
  put(cpu, "burst", resources.cpu.burst);
  put(cpu, "realtimeRuntime", resources.cpu.realtime_runtime);
  put(cpu, "realtimePeriod", resources.cpu.realtime_period);
  put(cpu, "idle", resources.cpu.idle);
  if (!resources.cpu.cpus.empty()) cpu["cpus"] = resources.cpu.cpus;
  if (!resources.cpu.mems.empty()) cpu["mems"] = resources.cpu.mems;
  put(block, "weight", resources.block.weight);
  put(block, "leafWeight", resources.block.leaf_weight);
  for (const BlockDeviceWeight& item : resources.block.device_weights) {
    json weight{{"major", item.major}, {"minor", item.minor}};
    put(weight, "weight", item.weight);
    put(weight, "leafWeight", item.leaf_weight);
    block["weightDevice"].push_back(std::move(weight));
  }
  put_list(block, "throttleReadBpsDevice", resources.block.read_bps);
  put_list(block, "throttleWriteBpsDevice", resources.block.write_bps);
  put_list(block, "throttleReadIOPSDevice", resources.block.read_iops);
  put_list(block, "throttleWriteIOPSDevice", resources.block.write_iops);
  put_object(out, "memory", std::move(memory));
  put_object(out, "cpu", std::move(cpu));
  put_object(out, "blockIO", std::move(block));
  if (resources.pids_limit) out["pids"]["limit"] = *resources.pids_limit;
  for (const HugepageLimit& limit : resources.hugepages)
    out["hugepageLimits"].push_back({{"pageSize", limit.page_size}, {"limit", limit.limit}});
  if (resources.network.class_id) out["network"]["classID"] = *resources.network.class_id;
  for (const auto& [name, priority] : resources.network.priorities)
    out["network"]["priorities"].push_back({{"name", name}, {"priority", priority}});
  for (const auto& [device, limits] : resources.rdma) {
    out["rdma"][device] = json::object();
    put(out["rdma"][device], "hcaHandles", limits.handles);
    put(out["rdma"][device], "hcaObjects", limits.objects);
  }
  for (const DeviceRule& rule : resources.devices) {
    json item{{"allow", rule.allow}, {"type", std::string(1, rule.type)}, {"access", rule.access}};
    put(item, "major", rule.major);
    put(item, "minor", rule.minor);
    out["devices"].push_back(std::move(item));
  }
  if (!resources.unified.empty()) out["unified"] = resources.unified;
  return out;
}

}  // namespace rayctl::run
