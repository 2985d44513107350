// The processes of a cgroup: listing, freezing, killing; and removal, which waits for them.
#include <dirent.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "run/cgroup.h"

namespace rayctl::run {

namespace {

using Version = Hierarchy::Version;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::vector<std::string> subdirectories(const std::string& directory) {
  std::vector<std::string> found;
  DIR* stream = opendir(directory.c_str());
  if (!stream) return found;
  while (dirent* entry = readdir(stream))
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') found.push_back(join(directory, entry->d_name));
  closedir(stream);
  return found;
}

void collect_pids(const std::string& directory, std::set<pid_t>& pids) {
  if (auto text = read_file_if_exists(join(directory, "cgroup.procs")))
    for (const std::string& line : split(*text, '\n'))
      if (!line.empty() && line != "0") pids.insert(std::atoi(line.c_str()));
  for (const std::string& below : subdirectories(directory)) collect_pids(below, pids);
}

// cgroup.procs vanishes with ENODEV when the cgroup is removed between open and read.
std::set<pid_t> pids_of(const std::string& directory) {
  std::set<pid_t> pids;
  try {
    collect_pids(directory, pids);
  } catch (const SysError& e) {
    if (e.code() != ENODEV) throw;
  }
  return pids;
}

bool populated_in(const Hierarchy& hierarchy, const std::string& directory) {
  if (hierarchy.version == Version::v2) {
    try {
      auto events = read_file_if_exists(join(directory, "cgroup.events"));
      return events && events->find("populated 1") != std::string::npos;
    } catch (const SysError& e) {
      if (e.code() == ENODEV) return false;
      throw;
    }
  }
  return !pids_of(directory).empty();
}

}  // namespace

bool Cgroup::populated() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const Place& p) { return !p.shared && populated_in(p.hierarchy, p.directory); });
}

std::vector<pid_t> Cgroup::pids() const {
  std::set<pid_t> found;
  for (const Place& p : places_)
    if (!p.shared) found.merge(pids_of(p.directory));
  return {found.begin(), found.end()};
}

bool Cgroup::frozen() const {
  const Place* p = freezer();
  if (!p) return false;
  if (p->hierarchy.version == Version::v2) {
    auto events = read_file_if_exists(join(p->directory, "cgroup.events"));
    return events && events->find("frozen 1") != std::string::npos;
  }
  auto state = read_file_if_exists(join(p->directory, "freezer.state"));
  return state && trim(*state) == "FROZEN";
}

// v1's freezer is preferred in the hybrid layout: its state is what other tools look at there.
const Cgroup::Place* Cgroup::freezer() const {
  const Place* p = place("freezer");
  if (p && !p->shared) return p;
  p = unified();
  return p && !p->shared ? p : nullptr;
}

void Cgroup::set_frozen(const char* v1, const char* v2) const {
  const Place* p = freezer();
  if (!p)
    throw Error("cannot freeze cgroup '{}': this machine has neither cgroup v2 nor the freezer controller",
                path_);
  if (p->hierarchy.version == Version::v2)
    write_existing(join(p->directory, "cgroup.freeze"), v2);
  else
    write_existing(join(p->directory, "freezer.state"), v1);
}

void Cgroup::freeze() {
  auto end = Clock::now() + std::chrono::seconds(10);
  for (int round = 0; Clock::now() < end; ++round) {
    // v1 stays in FREEZING when a process forked meanwhile, until it is asked again.
    if (round % 20 == 0) set_frozen("FROZEN", "1");
    if (frozen()) return;
    std::this_thread::sleep_for(milliseconds(round < 10 ? 1 : 5));
  }
  thaw();
  throw Error("cannot freeze cgroup '{}': a process in it doesn't stop", path_);
}

void Cgroup::thaw() {
  set_frozen("THAWED", "0");
}

// Somebody may have moved single processes into a frozen cgroup of v1's freezer that isn't ours: SIGKILL
// waits for its thaw.
void Cgroup::thaw_elsewhere() const {
  const Place* p = place("freezer");
  if (!p) return;
  for (pid_t pid : pids()) {
    auto text = read_file_if_exists(fmt::format("/proc/{}/cgroup", pid));
    if (!text) continue;
    for (const std::string& line : split(*text, '\n'))
      if (size_t at = line.find(":freezer:"); at != std::string::npos)
        if (std::string where = line.substr(at + 9); where != "/")
          write_existing(join(p->hierarchy.directory(where), "freezer.state"), "THAWED");
  }
}

void Cgroup::kill(milliseconds limit) const {
  auto end = Clock::now() + limit;
  for (int round = 0;; ++round) {
    if (!populated()) return;
    const Place* p = unified();
    bool atomic = p && !p->shared && rayctl::exists(join(p->directory, "cgroup.kill"));
    if (round % 16 == 0) {
      if (atomic) {
        write_existing(join(p->directory, "cgroup.kill"), "1");
      } else if (freezer()) {
        // No process can fork away between the list and the signals.
        set_frozen("FROZEN", "1");
        std::this_thread::sleep_for(milliseconds(1));
      }
      for (pid_t pid : pids()) ::kill(pid, SIGKILL);
      // A process that v1 froze dies only when it is thawed; also one that was paused before.
      if (freezer()) set_frozen("THAWED", "0");
      if (round == 32) thaw_elsewhere();
    }
    if (Clock::now() >= end && populated()) {
      std::vector<pid_t> left = pids();
      throw Error("cannot kill the processes of cgroup '{}': {} left{}", path_, left.size(),
                  left.empty() ? "" : fmt::format(", the first is {}", left.front()));
    }
    if (!populated()) return;
    std::this_thread::sleep_for(milliseconds(round < 20 ? 1 : 10));
  }
}

void Cgroup::remove(milliseconds limit) {
  close_entry();
  auto end = Clock::now() + limit;
  // Depth first; a cgroup is busy until the kernel has let go of its last dead process.
  std::function<void(const std::string&)> remove_one = [&](const std::string& directory) {
    for (int round = 0;; ++round) {
      if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return;
      int code = errno;
      for (const std::string& below : subdirectories(directory)) remove_one(below);
      if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return;
      if ((code != EBUSY && code != ENOTEMPTY) || Clock::now() >= end)
        throw SysError(errno, "cannot remove cgroup '{}'", directory);
      std::this_thread::sleep_for(milliseconds(std::min(1 + round, 20)));
    }
  };
  for (const Place& p : places_)
    if (!p.shared) remove_one(p.directory);
}

}  // namespace rayctl::run
