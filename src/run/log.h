// A container's log: `log`, `log.1` (older), … in its directory. One record a line, as Kubernetes' runtimes
// write it:
//   2026-11-24T10:00:00.123456789Z stdout F text
// The third word is F for a full line and P for a part of one: the text of the next record of that stream
// continues it. The stream `rayctl` holds what rayctl itself has to say, such as how much was lost while the
// disk was full.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace rayctl::run {

struct LogLimits {
  uint64_t max_size = 32 << 20;  // bytes of one file; at least 64 KiB
  unsigned max_files = 4;        // with the current one; at least 2
};

enum class Stream { out, err, rayctl };

using LogTime = std::chrono::sys_time<std::chrono::nanoseconds>;

struct LogRecord {
  LogTime time;
  Stream stream = Stream::out;
  bool partial = false;
  std::string text;
};

std::string format_time(LogTime time);                     // "2026-11-24T10:00:00.123456789Z"
std::optional<LogTime> parse_time(std::string_view text);  // RFC 3339, UTC or with an offset, any fraction

// One line without its newline; empty when it isn't a record.
std::optional<LogRecord> parse_log_record(std::string_view line);

inline constexpr const char* log_name = "log";

// Appends to a container's log and rotates it. Never throws after construction and never waits for anything
// but the disk: while that refuses to take bytes they are counted and dropped, and the log says so once it
// takes them again.
class LogWriter {
 public:
  LogWriter(std::string directory, const LogLimits& limits);

  void write(Stream stream, std::string_view bytes) noexcept;
  void note(std::string_view text) noexcept;  // a line of the stream `rayctl`
  void sync() noexcept;

 private:
  void open();
  void rotate();
  void flush();
  void append(Stream stream, char tag, std::string_view text);
  void stamp();

  std::string directory_;
  LogLimits limits_;
  Fd file_;
  uint64_t size_ = 0;
  uint64_t lost_ = 0;
  int lost_reason_ = 0;
  bool rotation_due_ = false;  // before the next record
  bool open_line_[3] = {};     // by stream: the last record was a part
  std::string buffer_;
  std::string time_;
};

}  // namespace rayctl::run
