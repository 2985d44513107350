// Reads a container's log across its rotated files, while it is being written.
#pragma once

#include <sys/types.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "run/log.h"

namespace rayctl::run {

struct LogQuery {
  std::optional<uint64_t> tail = {};  // the last N lines
  std::optional<LogTime> since = {};  // nothing older
  bool follow = true;                 // false: fd() is -1, and the kernel has nothing to set up and tear down
};

// A position in a log. Not thread-safe; never waits.
class LogReader {
 public:
  // A log that doesn't exist yet is empty.
  LogReader(std::string directory, const LogQuery& query);

  // The next records, at most about 64 KiB of them; none = all that was written so far is read. A record of
  // the stream `rayctl` says so when files were rotated away unread.
  std::vector<LogRecord> next();

  int fd() const { return watch_.get(); }  // readable after the log has changed; next() clears it

 private:
  struct File {
    Fd fd;
    ino_t inode;
    off_t offset = 0;
  };
  std::vector<File> open_newer();
  void start_at_tail(uint64_t lines);
  bool fill();

  std::string directory_;
  std::optional<LogTime> since_;
  Fd watch_;
  std::deque<File> files_;  // oldest first; the front one is being read
  std::string rest_;        // an incomplete line
  bool gap_ = false;
};

// Where the last `lines` full lines of the file begin; what it lacks stays in `lines` for the file before.
off_t tail_offset(int fd, uint64_t& lines);

}  // namespace rayctl::run
