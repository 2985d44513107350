#include "fleet/view.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::fleet {

namespace {

constexpr std::string_view stage_names[] = {"requested", "booting",   "installing", "joining",
                                            "joined",    "pulling",   "creating",   "starting Ray",
                                            "healthy",   "unhealthy", "failed",     "ending"};
constexpr std::string_view progress_names[] = {"starting", "waiting", "healthy", "degraded",
                                               "blocked",  "ending",  "ended"};

int64_t seconds(WallTime time) {
  return time.time_since_epoch().count();
}

WallTime time_at(const Json& json, std::string_view key) {
  return WallTime(std::chrono::seconds(json.at(key).integer()));
}

nlohmann::json to_json(const MachineView& machine) {
  nlohmann::json json = to_json(machine.record);
  json["stage"] = name_of(machine.stage);
  json["since"] = seconds(machine.since);
  json["connected"] = machine.connected;
  if (!machine.detail.empty()) json["detail"] = machine.detail;
  // The record's own last error stays; this one is of the stage.
  if (!machine.error.empty()) json["stage_error"] = machine.error;
  if (!machine.console.empty()) json["console"] = machine.console;
  if (!machine.login.empty()) json["login"] = machine.login;
  return json;
}

MachineView parse_machine_view(const Json& json) {
  MachineView machine;
  machine.record = parse_machine_record(json);
  std::string stage = json.at("stage").string();
  machine.stage = stage_by_name(stage).value_or(Stage::joined);
  machine.since = time_at(json, "since");
  machine.connected = json.at("connected").boolean();
  machine.detail = json.string_or("detail", "");
  machine.error = json.string_or("stage_error", "");
  machine.console = json.string_or("console", "");
  machine.login = json.string_or("login", "");
  return machine;
}

nlohmann::json to_json(const ContainerView& c) {
  return {{"number", c.number},   {"image", c.image}, {"command", c.command}, {"id", c.id},
          {"machine", c.machine}, {"node", c.node},   {"minion", c.minion},   {"stitch_id", c.stitch_id},
          {"address", c.address}, {"mac", c.mac},     {"labels", c.labels},   {"env", c.env},
          {"status", c.status}};
}

ContainerView parse_container_view(const Json& json) {
  ContainerView c;
  c.number = static_cast<uint32_t>(json.at("number").size());
  c.image = json.at("image").string();
  c.command = json.at("command").string();
  c.id = json.at("id").string();
  c.machine = static_cast<uint32_t>(json.at("machine").size());
  c.node = json.at("node").string();
  c.minion = json.at("minion").string();
  c.stitch_id = json.at("stitch_id").string();
  c.address = json.at("address").string();
  c.mac = json.at("mac").string();
  c.labels = json.at("labels").strings();
  c.env = json.at("env").string_map();
  c.status = json.at("status").string();
  return c;
}

std::string in_brackets(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) text += (text.size() == 1 ? "" : " ") + item;
  return text + "]";
}

}  // namespace

std::string_view name_of(Stage stage) {
  return stage_names[static_cast<size_t>(stage)];
}

std::optional<Stage> stage_by_name(std::string_view name) {
  for (size_t i = 0; i < std::size(stage_names); ++i)
    if (stage_names[i] == name) return static_cast<Stage>(i);
  return std::nullopt;
}

std::string_view name_of(Progress progress) {
  return progress_names[static_cast<size_t>(progress)];
}

nlohmann::json to_json(const ClusterLook& look) {
  nlohmann::json machines = nlohmann::json::array(), containers = nlohmann::json::array();
  for (const MachineView& machine : look.machines) machines.push_back(to_json(machine));
  for (const ContainerView& container : look.containers) containers.push_back(to_json(container));
  return {{"namespace", look.name},
          {"acl", look.acl},
          {"progress", name_of(look.progress)},
          {"missing", look.missing},
          {"error", look.error},
          {"head_address", look.head_address},
          {"remarks", look.remarks},
          {"machines", std::move(machines)},
          {"containers", std::move(containers)},
          {"cost",
           {{"per_hour", look.cost.per_hour},
            {"so_far", look.cost.so_far},
            {"machines", look.cost.machines},
            {"unknown", look.cost.unknown}}},
          {"when", seconds(look.when)},
          {"order", look.order}};
}

ClusterLook parse_look(const Json& json) {
  ClusterLook look;
  look.name = json.at("namespace").string();
  look.acl = json.at("acl").strings();
  std::string progress = json.at("progress").string();
  for (size_t i = 0; i < std::size(progress_names); ++i)
    if (progress_names[i] == progress) look.progress = static_cast<Progress>(i);
  look.missing = json.at("missing").string();
  look.error = json.at("error").string();
  look.head_address = json.at("head_address").string();
  look.remarks = json.at("remarks").strings();
  for (const Json& machine : json.at("machines").items())
    look.machines.push_back(parse_machine_view(machine));
  for (const Json& container : json.at("containers").items())
    look.containers.push_back(parse_container_view(container));
  const Json cost = json.at("cost");
  look.cost = {.per_hour = cost.at("per_hour").number(),
               .so_far = cost.at("so_far").number(),
               .machines = static_cast<unsigned>(cost.at("machines").size()),
               .unknown = static_cast<unsigned>(cost.at("unknown").size())};
  look.when = time_at(json, "when");
  look.order = json.size_or("order", 0);
  return look;
}

std::string machine_line(const MachineView& machine) {
  const MachineRecord& r = machine.record;
  std::string text = fmt::format("Machine-{}{{{}, {}", r.number, r.role, r.provider);
  if (!r.region.empty()) text += " " + (r.zone.empty() ? r.region : r.zone);
  const std::string& size = r.size.empty() && !r.sizes.empty() ? r.sizes.front() : r.size;
  if (!size.empty()) text += " " + size;
  if (!r.id.empty()) text += ", " + r.id;
  if (!r.public_address.empty()) text += ", PublicIP=" + r.public_address;
  if (!r.private_address.empty()) text += ", PrivateIP=" + r.private_address;
  if (r.disk_gb) text += fmt::format(", Disk={}GB", r.disk_gb);
  if (machine.connected) text += ", Connected";
  return text + "}";
}

void sort_machines(std::vector<MachineView>& machines) {
  auto key = [](const MachineView& m) {
    const MachineRecord& r = m.record;
    bool both = !r.public_address.empty() && !r.private_address.empty();
    return std::tuple(!r.is_head(), !both, std::string_view(r.id), r.number);
  };
  std::sort(machines.begin(), machines.end(),
            [&](const MachineView& a, const MachineView& b) { return key(a) < key(b); });
}

std::string cluster_line(const ClusterLook& look) {
  return fmt::format("Cluster-1{{{}, ACL: {}}}", look.name, in_brackets(look.acl));
}

std::string container_line(const ContainerView& c) {
  std::string text = fmt::format("Container-{}{{run {}", c.number, c.image);
  if (!c.command.empty()) text += " " + c.command;
  if (!c.id.empty()) text += ", DockerID: " + c.id.substr(0, 12);
  if (!c.minion.empty()) text += ", Minion: " + c.minion;
  if (!c.stitch_id.empty()) text += ", StitchID: " + c.stitch_id;
  if (!c.address.empty()) text += ", IP: " + c.address;
  if (!c.mac.empty()) text += ", Mac: " + c.mac;
  if (!c.labels.empty()) text += ", Labels: " + in_brackets(c.labels);
  if (!c.env.empty()) {
    std::string env;
    for (const auto& [key, value] : c.env) env += (env.empty() ? "" : " ") + key + ":" + value;
    text += ", Env: map[" + env + "]";
  }
  return text + "}";
}

std::string info_line(std::string_view text, std::string_view fields,
                      std::optional<std::chrono::system_clock::time_point> at) {
  auto now = at.value_or(std::chrono::system_clock::now());
  time_t seconds = std::chrono::system_clock::to_time_t(now);
  auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  tm local{};
  localtime_r(&seconds, &local);
  static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::string stamp = fmt::format("{} {:2} {:02}:{:02}:{:02}.{:03}", months[local.tm_mon], local.tm_mday,
                                  local.tm_hour, local.tm_min, local.tm_sec, milliseconds);
  if (fields.empty()) return fmt::format("INFO [{}] {}", stamp, text);
  return fmt::format("INFO [{}] {:<40} {}", stamp, text, fields);
}

}  // namespace rayctl::fleet
