// Child processes of the host (never containers: those are src/run's).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"

namespace rayctl {

// What to run. An fd of -1 means /dev/null; the default is the parent's own.
struct Command {
  std::vector<std::string> argv;                     // argv[0] is searched in PATH when it has no '/'
  std::optional<std::vector<std::string>> env = {};  // "K=V"; the parent's when empty
  std::string cwd = {};
  int in = 0, out = 1, err = 2;
  std::vector<std::pair<int, int>> fds = {};  // (ours, number in the child > 2); all above are closed
  bool new_session = false;                   // setsid
};

struct Exit {
  std::optional<int> code = {};
  std::optional<int> signal = {};
  bool success() const { return code == 0; }
};

std::string describe(const Exit& exit);  // "exit code 3", "killed by signal 9 (Killed)"

// A running child; the destructor kills and reaps it unless it was waited for or released.
class Child {
 public:
  // Throws when the program can't be executed ("cannot run 'x': No such file or directory").
  static Child spawn(const Command& command);
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  Child& operator=(Child&& other) noexcept;
  ~Child();

  Exit wait();
  std::optional<Exit> poll();                                    // without waiting
  std::optional<Exit> wait_for(std::chrono::milliseconds time);  // empty when it still runs
  Exit stop(std::chrono::milliseconds grace);                    // SIGTERM, then SIGKILL after `grace`
  void kill(int signal) const;
  pid_t release();  // no longer ours to kill or reap
  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }

 private:
  Child(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = -1;
  Fd pidfd_;
};

struct Output {
  Exit exit;
  std::string out, err;
};

// Runs to the end with `input` on stdin; keeps at most `limit` bytes of each stream (the rest is read and
// dropped).
Output run_captured(Command command, std::string_view input = {}, size_t limit = 1 << 20);

}  // namespace rayctl
