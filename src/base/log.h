// What the program says: levels, three forms (plain, JSON lines, terminal), and progress that shares the
// terminal.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/text.h"

namespace rayctl {

// error: the command failed (main only); warn: something is off and goes on; info: what a user wants to see;
// debug: what a developer wants to see.
enum class Level { error, warn, info, debug };
enum class LogFormat { text, json };

struct LogOptions {
  Level level = Level::info;
  LogFormat format = LogFormat::text;
  bool timestamps = false;  // "2026-11-24T10:00:00.123Z " in front of each text line (services)
};

// Sets the process's log; messages go to stderr. Before the call: text, info. Colour and bars are used only
// on a terminal without NO_COLOR and TERM=dumb.
void set_log(const LogOptions& options);
bool log_enabled(Level level);
void log_line(Level level, std::string_view text) noexcept;

// The command's last words: "rayctl: <text>" on stderr (a JSON line with LogFormat::json).
void log_failure(std::string_view text) noexcept;

template <class... A>
void warn(fmt::format_string<A...> format, A&&... args) {
  log_line(Level::warn, fmt::format(format, std::forward<A>(args)...));
}
template <class... A>
void info(fmt::format_string<A...> format, A&&... args) {
  log_line(Level::info, fmt::format(format, std::forward<A>(args)...));
}
template <class... A>
void debug(fmt::format_string<A...> format, A&&... args) {
  if (log_enabled(Level::debug)) log_line(Level::debug, fmt::format(format, std::forward<A>(args)...));
}

// A piece of long work, e.g. one blob's transfer. On a terminal the living ones are drawn as bars below the
// log; in a pipe and in JSON one line tells the start of a big one and one its end. Thread-safe.
class Activity {
 public:
  // `total` in bytes or steps; 0 = unknown.
  Activity(std::string name, uint64_t total);
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;
  void advance(uint64_t amount);
  void rename(std::string name);
  void finish(std::string_view outcome = "done");  // says so once; the destructor alone says nothing

  struct State;  // shared with the drawing thread

 private:
  std::shared_ptr<State> state_;
};

// Raw output of a child (a RUN step), line by line, above the bars; `prefix` in front of each line.
void log_output(std::string_view prefix, std::string_view line) noexcept;

bool stdout_is_terminal();

}  // namespace rayctl
