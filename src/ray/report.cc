#include "ray/report.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "base/version.h"

namespace rayctl::ray {

namespace {

constexpr std::array<std::string_view, 8> stages = {"joining", "pulling",   "creating", "starting Ray",
                                                    "healthy", "unhealthy", "failed",   "stopped"};
constexpr std::array<std::string_view, 5> states = {"created", "running", "exited", "restarting", "stopped"};

template <class E, size_t N>
E by_name(const std::array<std::string_view, N>& names, const Json& value) {
  auto it = std::find(names.begin(), names.end(), value.string());
  if (it == names.end()) throw Error("{}: unknown value '{}'", value.path(), value.string());
  return static_cast<E>(it - names.begin());
}

int64_t seconds(cluster::WallTime time) {
  return time.time_since_epoch().count();
}

cluster::WallTime time_of(const Json& json, std::string_view key) {
  auto value = json.find(key);
  return cluster::WallTime(std::chrono::seconds(value ? value->integer() : 0));
}

}  // namespace

std::string_view stage_name(Stage stage) {
  return stages[static_cast<size_t>(stage)];
}
std::string_view state_name(ContainerState state) {
  return states[static_cast<size_t>(state)];
}

NodeReport fresh_report(const Resources& resources) {
  NodeReport report;
  report.since = cluster::wall_now();
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);
  report.machine_started = report.since - std::chrono::seconds(up.tv_sec);
  report.boot.push_back({report.stage, report.since});
  report.memory = resources.memory;
  report.shm_size = resources.shm_size;
  report.cpus = resources.cpus;
  report.rayctl_version = std::string(version());
  return report;
}

void note_stage(NodeReport& report, Stage stage) {
  if (report.stage == stage) return;
  report.stage = stage;
  report.since = cluster::wall_now();
  bool booting = report.boot.empty() || report.boot.back().stage != Stage::healthy;
  if (booting && report.boot.size() < max_boot_stages) report.boot.push_back({stage, report.since});
}

nlohmann::json to_json(const ContainerReport& r) {
  nlohmann::json json = {
      {"id", r.id},
      {"name", r.name},
      {"image", r.image},
      {"command", r.command},
      {"address", r.address},
      {"state", state_name(r.state)},
      {"healthy", r.healthy},
      {"checked", r.checked},
      {"created", seconds(r.created)},
      {"started", seconds(r.started)},
      {"finished", seconds(r.finished)},
      {"oom_killed", r.oom_killed},
      {"restarts", r.restarts},
      {"pid", r.pid},
  };
  if (r.exit_code) json["exit_code"] = *r.exit_code;
  return json;
}

nlohmann::json to_json(const NodeReport& r) {
  nlohmann::json json = {
      {"stage", stage_name(r.stage)},
      {"since", seconds(r.since)},
      {"detail", r.detail},
      {"error", r.error},
      {"log_tail", r.log_tail},
      {"memory", r.memory},
      {"shm_size", r.shm_size},
      {"cpus", r.cpus},
      {"rayctl_version", r.rayctl_version},
  };
  if (!r.ssh_host_keys.empty()) json["ssh_host_keys"] = r.ssh_host_keys;
  if (!r.login.empty()) json["login"] = r.login;
  if (!r.instance.empty()) json["instance"] = r.instance;
  if (r.container) json["container"] = to_json(*r.container);
  json["machine_started"] = seconds(r.machine_started);
  json["boot"] = nlohmann::json::array();
  for (const BootStage& stage : r.boot)
    json["boot"].push_back({{"stage", stage_name(stage.stage)}, {"since", seconds(stage.since)}});
  for (const ContainerReport& other : r.others) json["others"].push_back(to_json(other));
  return json;
}

ContainerReport parse_container_report(const Json& json) {
  ContainerReport r;
  r.id = json.at("id").string();
  r.name = json.at("name").string();
  r.image = json.string_or("image", "");
  r.command = json.string_or("command", "");
  r.address = json.string_or("address", "");
  r.state = by_name<ContainerState>(states, json.at("state"));
  r.healthy = json.boolean_or("healthy", false);
  r.checked = json.boolean_or("checked", true);
  r.created = time_of(json, "created");
  r.started = time_of(json, "started");
  r.finished = time_of(json, "finished");
  if (auto code = json.find("exit_code")) r.exit_code = static_cast<int>(code->integer());
  r.oom_killed = json.boolean_or("oom_killed", false);
  r.restarts = json.size_or("restarts", 0);
  if (auto pid = json.find("pid")) r.pid = pid->integer();
  return r;
}

NodeReport parse_node_report(const Json& json) {
  NodeReport r;
  r.stage = by_name<Stage>(stages, json.at("stage"));
  r.since = time_of(json, "since");
  r.detail = json.string_or("detail", "");
  r.error = json.string_or("error", "");
  r.log_tail = json.string_or("log_tail", "");
  if (auto container = json.find("container")) r.container = parse_container_report(*container);
  if (auto others = json.find("others"))
    for (const Json& other : others->items()) r.others.push_back(parse_container_report(other));
  r.memory = json.size_or("memory", 0);
  r.shm_size = json.size_or("shm_size", 0);
  if (auto cpus = json.find("cpus")) r.cpus = cpus->number();
  r.rayctl_version = json.string_or("rayctl_version", "");
  r.ssh_host_keys = json.strings_or_empty("ssh_host_keys");
  r.login = json.string_or("login", "");
  r.instance = json.string_or("instance", "");
  r.machine_started = time_of(json, "machine_started");
  if (auto boot = json.find("boot"))
    for (const Json& stage : boot->items())
      if (r.boot.size() < max_boot_stages)
        r.boot.push_back({by_name<Stage>(stages, stage.at("stage")), time_of(stage, "since")});
  return r;
}

std::string describe_boot(const NodeReport& report, cluster::WallTime now) {
  constexpr std::chrono::seconds just_started = std::chrono::hours(1);
  if (report.boot.empty()) return "";
  std::string text;
  auto add = [&](std::string_view stage, std::chrono::seconds time) {
    std::string shown = time.count() < 60 ? fmt::format("{}s", time.count()) : human_duration(time);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", stage, shown);
  };
  auto before = report.boot.front().since - report.machine_started;
  if (report.machine_started.time_since_epoch().count() != 0 && before.count() >= 0 && before < just_started)
    add("installing", before);
  for (size_t i = 0; i < report.boot.size(); ++i) {
    const BootStage& stage = report.boot[i];
    bool last = i + 1 == report.boot.size();
    if (last && stage.stage == Stage::healthy)
      text += ", healthy";
    else
      add(stage_name(stage.stage), (last ? now : report.boot[i + 1].since) - stage.since);
  }
  return text;
}

std::string describe_age(int64_t s) {
  if (s < 1) return "Less than a second";
  if (s == 1) return "1 second";
  if (s < 60) return fmt::format("{} seconds", s);
  int64_t minutes = s / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return fmt::format("{} minutes", minutes);
  int64_t hours = (s + 1800) / 3600;
  if (hours == 1) return "About an hour";
  if (hours < 48) return fmt::format("{} hours", hours);
  if (hours < 24 * 14) return fmt::format("{} days", hours / 24);
  if (hours < 24 * 60) return fmt::format("{} weeks", hours / 24 / 7);
  if (hours < 24 * 365 * 2) return fmt::format("{} months", hours / 24 / 30);
  return fmt::format("{} years", hours / 24 / 365);
}

std::string describe_status(const ContainerReport& r, cluster::WallTime now) {
  auto age = [&](cluster::WallTime since) { return describe_age((now - since).count()); };
  std::string code = fmt::format("({})", r.exit_code.value_or(0));
  switch (r.state) {
    case ContainerState::created:
      return "Created";
    case ContainerState::running:
      if (!r.checked) return fmt::format("Up {}", age(r.started));
      return fmt::format("Up {} ({})", age(r.started), r.healthy ? "healthy" : "health: starting");
    case ContainerState::restarting:
      return fmt::format("Restarting {} {} ago", code, age(r.finished));
    case ContainerState::exited:
    case ContainerState::stopped:
      break;
  }
  return fmt::format("Exited {} {} ago{}", code, age(r.finished), r.oom_killed ? " (out of memory)" : "");
}

const PlacedContainer& find_container(const std::vector<PlacedContainer>& all, std::string_view target) {
  std::string_view name = target.ends_with(".q") ? target.substr(0, target.size() - 2) : target;
  std::vector<const PlacedContainer*> found;
  // A label of a deployment, which may be named like a node that runs others, too; "head" is Ray's.
  for (const PlacedContainer& c : all)
    if (c.container.name == name || (name == "head" && c.container.command == "run head"))
      found.push_back(&c);
  if (found.size() == 1) return *found[0];
  found.clear();
  for (const PlacedContainer& c : all)
    if (c.node == name || c.node + "/" + c.container.name == name ||
        (name == "head" && c.role == cluster::MemberRole::head))
      found.push_back(&c);
  if (found.empty() && target.size() >= 2)
    for (const PlacedContainer& c : all)
      if (c.container.id.starts_with(target)) found.push_back(&c);
  if (found.empty())
    throw Error("cannot find container '{}': 'rayctl ps' lists those that there are", target);
  if (found.size() > 1)
    throw Error("container '{}' is not unique: it may be {} or {}", target,
                found[0]->container.id.substr(0, 12), found[1]->container.id.substr(0, 12));
  return *found[0];
}

}  // namespace rayctl::ray
