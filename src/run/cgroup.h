// The control group of one container, in whichever layout the machine has.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "run/cgroup_mounts.h"
#include "run/container.h"
#include "run/spec.h"

namespace rayctl::run {

struct LimitPlan;

// What to do about a limit whose controller the machine doesn't have.
enum class MissingController { fail, warn };

// Empty = the machine doesn't count it.
struct CgroupStats {
  std::optional<uint64_t> memory_current = {}, memory_peak = {},
                          memory_limit = {};  // bytes; limit: empty = none
  std::optional<uint64_t> memory_inactive_file =
      {};                          // bytes that the kernel takes back first: Ray subtracts them
  uint64_t oom_kills = 0;          // processes that the kernel killed for the memory limit
  uint64_t memory_limit_hits = 0;  // times that memory had to be reclaimed at the limit
  std::optional<std::chrono::microseconds> cpu = {};  // user + system
  std::optional<uint64_t> pids = {};
};

// One cgroup `path` in every hierarchy of the machine. Owns descriptors only: the directories live until
// remove().
class Cgroup {
 public:
  // Makes `path` (absolute from the hierarchies' root; "a/b" = "/a/b") with its parents, enables the
  // controllers that `resources` and statistics need, and sets the limits. An empty leftover of that name is
  // used again; one with processes is an error.
  static Cgroup create(const std::string& path, const Resources& resources,
                       MissingController missing = MissingController::fail);

  // What is there of `path`; hierarchies in which it doesn't exist are left out (see exists()).
  static Cgroup open(const std::string& path);

  // A cgroup below this one for an exec: its own in the hierarchy that kills and freezes, this one's in all
  // others.
  Cgroup child(const std::string& name) const;

  // Changes limits; those that `resources` doesn't mention stay.
  void apply(const Resources& resources, MissingController missing = MissingController::fail);

  // For start_container and exec_in_container; the descriptors stay open as long as this object.
  CgroupEntry entry();
  void close_entry();
  void add(pid_t pid);  // 0 = the calling process

  void freeze();  // returns when all are frozen; on failure everything is thawed again
  void thaw();
  bool frozen() const;

  // SIGKILL to every process in it and below, also to frozen ones and to those that are being forked. Returns
  // when none is left; an error after `limit` (processes in uninterruptible sleep).
  void kill(std::chrono::milliseconds limit = std::chrono::seconds(10)) const;

  bool exists() const;              // in at least one hierarchy
  bool populated() const;           // a living process in it or below
  std::vector<pid_t> pids() const;  // of it and all below, as this pid namespace numbers them
  CgroupStats stats() const;

  // Removes it and all below, in every hierarchy; waits up to `limit` for the kernel to let go of dead
  // processes.
  void remove(std::chrono::milliseconds limit = std::chrono::seconds(5));

  // Removes it where nothing is in it or below; whatever else is there stays.
  void remove_unused() const noexcept;

  const std::string& path() const { return path_; }
  std::string directory(std::string_view controller) const;  // "" when there is none

 private:
  struct Place {
    Hierarchy hierarchy;
    std::string directory;
    bool shared = false;  // the parent's: this object only puts processes into it
  };
  Cgroup(std::string path, std::vector<Place> places) : path_(std::move(path)), places_(std::move(places)) {}
  const Place* place(std::string_view controller) const;
  const Place* unified() const;
  const Place* anchor() const;
  const Place* freezer() const;
  void set_frozen(const char* v1, const char* v2) const;
  void thaw_elsewhere() const;
  void perform(const LimitPlan& plan, const Resources& resources, MissingController missing);

  std::string path_;
  std::vector<Place> places_;
  Fd unified_directory_;
  std::vector<Fd> procs_;
};

// Signals OOM kills in a cgroup (v2: memory.events by inotify; v1: memory.oom_control by eventfd).
class OomWatch {
 public:
  explicit OomWatch(const Cgroup& cgroup);
  int fd() const { return fd_.get(); }  // -1 when the machine can't tell
  void drain();                         // before reading the counters

 private:
  Fd fd_, source_;
};

// Puts a process (0 = the calling one) into `path`, which is made where it doesn't exist; no limits.
void join_cgroup(const std::string& path, pid_t pid = 0);

// v2 forbids processes beside controllers ("no internal processes"): moves every process of `path` into the
// leaf `path/leaf`, so that siblings of the leaf can have limits. A service that was given `path` by
// Delegate=yes calls it first. Nothing to do on v1.
void move_to_leaf(const std::string& path, const std::string& leaf);

}  // namespace rayctl::run
