// A process of its own beside the supervisor: started by it, outliving it, found again by the next one, and
// replaced when it is of another version. Both sides know nothing of each other but one directory:
//
//   DIR/table.json    the supervisor replaces it; the process watches it
//   DIR/status.json   the process replaces it: {pid, version (rayctl's), mounts (its mount namespace), …};
//                     `peers`, if it is there, may have thousands
//   DIR/lock          flock held by the process that serves
//   DIR/log           its stderr
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/json.h"

namespace rayctl {

struct DaemonFiles {
  std::string table, status, lock, log;
};
DaemonFiles daemon_files(const std::string& directory);

// "mnt:[4026531841]" of this process: paths of namespaces mean something within one mount namespace.
std::string mount_namespace();

// Replaces a file atomically, without fsync: for what is of no use after a reboot.
void replace_volatile(const std::string& path, std::string_view text, mode_t mode = 0644);

// A process that somebody stopped (SIGSTOP, a terminal's ^Z) is told to go on, and killed when that was in
// vain the last time. One that is being debugged is left alone. Costs two reads of /proc.
class StopWatch {
 public:
  // Of the process behind the pidfd; true when it was stopped.
  bool look(int pidfd);

 private:
  bool told_ = false;
};

// The supervisor's side; holds nothing but words, so that any number may come and go.
class DaemonHandle {
 public:
  // `binary` is executed as `BINARY WORD --dir DIRECTORY`; `noun` is what messages call it: "name server".
  DaemonHandle(std::string directory, std::string binary, std::string word, std::string noun);

  // Starts it unless it runs; one of another rayctl version or in another mount namespace is replaced.
  // Returns what was done: "" = it was running, else a line for the log.
  std::string ensure();
  void write_table(std::string_view text, mode_t mode) const;
  std::optional<Json> status() const;  // empty when it doesn't run
  std::optional<Json> brief() const;   // the same without `peers`
  Fd watch() const;                    // a pidfd, readable at its death; empty when it doesn't run
  void stop();                         // SIGTERM, waits up to 2 s, SIGKILL; removes the directory

  const std::string& directory() const { return directory_; }

 private:
  std::optional<std::string> status_text() const;
  std::string directory_, binary_, word_, noun_;
};

// The process's side.

// A directory watched for changes of its files, which may be replaced by rename.
class DirectoryWatch {
 public:
  DirectoryWatch();
  int fd() const { return fd_.get(); }
  void add(const std::string& directory);  // not there yet: can't be watched; the caller tries again
  void drain();

 private:
  Fd fd_;
};
std::string directory_of(const std::string& path);

struct DaemonStart {
  std::string directory;
  pid_t predecessor = 0;  // to be told to go once we can take over; 0: there is none
};

// The body of an early command `rayctl WORD --dir DIRECTORY [--replace PID]`. `serve` runs in a child that is
// a session of its own, with the terminal's descriptors until it calls `ready`; then the first process ends
// with success.
int daemon_main(
    int argc, char** argv, std::string_view word,
    const std::function<void(const DaemonStart& start, const std::function<void()>& ready)>& serve);

}  // namespace rayctl
