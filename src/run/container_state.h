// The files of a container's directory: options.json, state.json, exit.json.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "run/log.h"

namespace rayctl::run {

using WallClock = std::chrono::system_clock;

// What the shim is told beside the Spec; written once.
struct ContainerOptions {
  std::string id;
  LogLimits log = {};
  bool open_stdin = false;       // a pipe that attach feeds, instead of /dev/null
  int stop_signal = SIGTERM;     // what stop() sends to PID 1
  std::string shim_cgroup = {};  // the shim's own cgroup; empty = "shims" beside the container's
  std::map<std::string, std::string> labels = {};
};

// A process that can be told from a later one of the same number.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start_time = 0;  // field 22 of /proc/PID/stat
};

enum class RunStatus {
  created,   // never started
  starting,  // the shim is making it
  running,
  stopped,  // ended: exit.json says how
};

// As it was when the shim last wrote it; ContainerDir::state() adds whether that still holds.
struct RunState {
  RunStatus status = RunStatus::created;
  WallClock::time_point created = {};
  std::optional<WallClock::time_point> started = {};
  std::optional<ProcessId> shim = {}, init = {};
  std::string boot_id = {};  // of the boot that `shim` and `init` belong to
  uint64_t oom_kills = 0;
};

struct ContainerExit {
  std::optional<int> code = {};
  std::optional<int> signal = {};
  // The kernel killed a process for the memory limit shortly before the container failed.
  bool oom = false;
  uint64_t oom_kills = 0;                    // in its whole life
  std::optional<uint64_t> memory_peak = {};  // bytes
  std::optional<std::chrono::microseconds> cpu = {};
  bool stop_requested = false;  // by stop()
  std::string error = {};       // why it never ran, or how it was lost
  std::optional<WallClock::time_point> started = {};
  WallClock::time_point finished = {};

  int status() const { return code ? *code : signal ? 128 + *signal : 255; }  // as a shell sees it
};

std::string describe(const ContainerExit& exit);  // "exit code 1 (out of memory: 2 processes killed)"

const char* name_of(RunStatus status);

// Times are RFC 3339 with nanoseconds, UTC.
std::string to_text(const ContainerOptions& options);
std::string to_text(const RunState& state);
std::string to_text(const ContainerExit& exit);
ContainerOptions parse_options(std::string_view text, const std::string& name);
RunState parse_state(std::string_view text, const std::string& name);
ContainerExit parse_exit(std::string_view text, const std::string& name);

std::string boot_id();  // of the running kernel

}  // namespace rayctl::run
