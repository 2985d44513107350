#include "run/container_state.h"

#include <nlohmann/json.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::run {

namespace {

std::string time_text(WallClock::time_point time) {
  return format_time(std::chrono::time_point_cast<std::chrono::nanoseconds>(time));
}

WallClock::time_point time_of(const Json& value) {
  std::string text = value.string();
  auto time = parse_time(text);
  if (!time) throw Error("{}: '{}' is not a time", value.path(), printable(text));
  return std::chrono::time_point_cast<WallClock::duration>(*time);
}

nlohmann::json to_json(const ProcessId& id) {
  return {{"pid", id.pid}, {"startTime", id.start_time}};
}

ProcessId process_of(const Json& value) {
  uint64_t pid = value.at("pid").size();
  if (pid == 0 || pid > 1 << 22) throw Error("{}.pid: {} is no process", value.path(), pid);  // PID_MAX_LIMIT
  return {static_cast<pid_t>(pid), value.at("startTime").size()};
}

std::optional<int> small_number(const Json& object, std::string_view key, uint64_t largest) {
  auto value = object.find(key);
  if (!value) return std::nullopt;
  if (value->size() > largest) throw Error("{}: at most {}", value->path(), largest);
  return static_cast<int>(value->size());
}

std::string document(const nlohmann::json& json) {
  // A label or an error text may hold bytes that aren't UTF-8.
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

constexpr RunStatus statuses[] = {RunStatus::created, RunStatus::starting, RunStatus::running,
                                  RunStatus::stopped};

}  // namespace

const char* name_of(RunStatus status) {
  switch (status) {
    case RunStatus::created:
      return "created";
    case RunStatus::starting:
      return "starting";
    case RunStatus::running:
      return "running";
    case RunStatus::stopped:
      return "stopped";
  }
  return "stopped";
}

std::string describe(const ContainerExit& exit) {
  if (!exit.error.empty()) return exit.error;
  std::string text = rayctl::describe(Exit{.code = exit.code, .signal = exit.signal});
  if (exit.oom)
    text +=
        fmt::format(" (out of memory: {} process{} killed)", exit.oom_kills, exit.oom_kills == 1 ? "" : "es");
  return text;
}

std::string to_text(const ContainerOptions& options) {
  return document({{"id", options.id},
                   {"log", {{"maxSize", options.log.max_size}, {"maxFiles", options.log.max_files}}},
                   {"openStdin", options.open_stdin},
                   {"stopSignal", options.stop_signal},
                   {"shimCgroup", options.shim_cgroup},
                   {"labels", options.labels}});
}

ContainerOptions parse_options(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  ContainerOptions options;
  options.id = json.at("id").string();
  Json log = json.at("log");
  options.log.max_size = log.at("maxSize").size();
  options.log.max_files = static_cast<unsigned>(small_number(log, "maxFiles", 1000).value_or(4));
  options.open_stdin = json.boolean_or("openStdin", false);
  options.stop_signal = small_number(json, "stopSignal", 64).value_or(SIGTERM);
  options.shim_cgroup = json.string_or("shimCgroup", "");
  if (auto labels = json.find("labels")) options.labels = labels->string_map();
  return options;
}

std::string to_text(const RunState& state) {
  nlohmann::json json{{"status", name_of(state.status)},
                      {"created", time_text(state.created)},
                      {"bootId", state.boot_id},
                      {"oomKills", state.oom_kills}};
  if (state.started) json["started"] = time_text(*state.started);
  if (state.shim) json["shim"] = to_json(*state.shim);
  if (state.init) json["init"] = to_json(*state.init);
  return document(json);
}

RunState parse_state(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  RunState state;
  std::string status = json.at("status").string();
  bool known = false;
  for (RunStatus candidate : statuses) {
    if (status != name_of(candidate)) continue;
    state.status = candidate;
    known = true;
  }
  if (!known) throw Error("{}.status: unknown '{}'", name, printable(status));
  state.created = time_of(json.at("created"));
  state.boot_id = json.at("bootId").string();
  state.oom_kills = json.size_or("oomKills", 0);
  if (auto started = json.find("started")) state.started = time_of(*started);
  if (auto shim = json.find("shim")) state.shim = process_of(*shim);
  if (auto init = json.find("init")) state.init = process_of(*init);
  return state;
}

std::string to_text(const ContainerExit& exit) {
  nlohmann::json json{{"oom", exit.oom},
                      {"oomKills", exit.oom_kills},
                      {"stopRequested", exit.stop_requested},
                      {"finished", time_text(exit.finished)}};
  if (exit.code) json["code"] = *exit.code;
  if (exit.signal) json["signal"] = *exit.signal;
  if (exit.memory_peak) json["memoryPeak"] = *exit.memory_peak;
  if (exit.cpu) json["cpuMicroseconds"] = exit.cpu->count();
  if (!exit.error.empty()) json["error"] = exit.error;
  if (exit.started) json["started"] = time_text(*exit.started);
  return document(json);
}

ContainerExit parse_exit(std::string_view text, const std::string& name) {
  Json json = Json::parse(text, name);
  ContainerExit exit;
  exit.code = small_number(json, "code", 255);
  exit.signal = small_number(json, "signal", 64);
  exit.oom = json.boolean_or("oom", false);
  exit.oom_kills = json.size_or("oomKills", 0);
  if (auto peak = json.find("memoryPeak")) exit.memory_peak = peak->size();
  if (auto cpu = json.find("cpuMicroseconds")) exit.cpu = std::chrono::microseconds(cpu->integer());
  exit.stop_requested = json.boolean_or("stopRequested", false);
  exit.error = json.string_or("error", "");
  if (auto started = json.find("started")) exit.started = time_of(*started);
  exit.finished = time_of(json.at("finished"));
  return exit;
}

std::string boot_id() {
  return std::string(trim(read_file("/proc/sys/kernel/random/boot_id")));
}

}  // namespace rayctl::run
