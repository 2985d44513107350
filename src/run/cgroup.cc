#include "run/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "run/cgroup_devices.h"
#include "run/cgroup_plan.h"

namespace rayctl::run {

namespace {

using Version = Hierarchy::Version;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// "/a/b" for "a//b/"; refuses what could leave the hierarchy or name one of its files.
std::string normal_path(const std::string& path) {
  std::string normal;
  for (const std::string& part : split(path, '/')) {
    if (part.empty()) continue;
    if (part == "." || part == ".." || part.size() > 255 ||
        std::any_of(part.begin(), part.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
      throw Error("cannot use cgroup path '{}': '{}' is not allowed in it", printable(path), printable(part));
    normal += '/' + part;
  }
  if (normal.empty()) throw Error("cannot use cgroup path '{}': it names the root", path);
  return normal;
}

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

// A new v1 cpuset is empty, and no process can enter it then.
void inherit_cpuset(const std::string& parent, const std::string& directory) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    if (!trim(read_file(join(directory, file))).empty()) continue;
    std::string value(trim(read_file(join(parent, file))));
    if (!value.empty()) write_existing(join(directory, file), value);
  }
}

// Gives `controllers` to the children of `directory`.
void delegate(const std::string& directory, const std::set<std::string>& controllers) {
  std::string file = join(directory, "cgroup.subtree_control");
  std::vector<std::string> enabled = split(trim(read_file(file)), ' ');
  std::string wanted;
  for (const std::string& name : controllers)
    if (std::find(enabled.begin(), enabled.end(), name) == enabled.end())
      wanted += (wanted.empty() ? "+" : " +") + name;
  if (wanted.empty()) return;
  try {
    write_existing(file, wanted);
  } catch (SysError& e) {
    if (e.code() == EBUSY)
      e.hint(
          "it has processes of its own, which cgroup v2 forbids beside limits: move them into a child "
          "cgroup");
    throw;
  }
}

// The v2 controllers that the container's own files need: statistics, and whatever is limited.
std::set<std::string> needed_controllers(const Hierarchy& v2, const LimitPlan& plan) {
  std::set<std::string> needed;
  for (const char* name : {"memory", "cpu", "pids"})
    if (v2.has(name)) needed.insert(name);
  for (const CgroupWrite& write : plan.writes)
    if (v2.has(write.controller)) needed.insert(write.controller);
  return needed;
}

void make_in(const Hierarchy& hierarchy, const std::string& path, const std::set<std::string>& controllers) {
  std::string directory = hierarchy.directory("/");
  std::string rest = hierarchy.directory(path).substr(directory.size());
  if (hierarchy.version == Version::v2 && !controllers.empty()) delegate(directory, controllers);
  std::vector<std::string> parts;
  for (std::string& part : split(rest, '/'))
    if (!part.empty()) parts.push_back(std::move(part));
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string parent = directory;
    directory = join(directory, parts[i]);
    if (mkdir(directory.c_str(), 0755) < 0 && errno != EEXIST)
      throw SysError(errno, "cannot make cgroup '{}'", directory);
    if (hierarchy.has("cpuset") && hierarchy.version == Version::v1) inherit_cpuset(parent, directory);
    if (hierarchy.version == Version::v2 && !controllers.empty() && i + 1 < parts.size())
      delegate(directory, controllers);
  }
}

// Another container's end may remove an unused parent under our feet.
template <class F>
void retry_when_removed(F&& make) {
  for (int tries = 0;; ++tries) {
    try {
      return make();
    } catch (const SysError& e) {
      if (tries >= 10 || (e.code() != ENOENT && e.code() != ENODEV)) throw;
    }
  }
}

}  // namespace

const Cgroup::Place* Cgroup::place(std::string_view controller) const {
  for (const Place& p : places_)
    if (p.hierarchy.has(controller)) return &p;
  return nullptr;
}

const Cgroup::Place* Cgroup::unified() const {
  for (const Place& p : places_)
    if (p.hierarchy.version == Version::v2) return &p;
  return nullptr;
}

// Where processes are listed, frozen and killed: all of the container are in it.
const Cgroup::Place* Cgroup::anchor() const {
  if (const Place* p = unified()) return p;
  for (const char* name : {"freezer", "pids", "memory"})
    if (const Place* p = place(name)) return p;
  return places_.empty() ? nullptr : &places_.front();
}

std::string Cgroup::directory(std::string_view controller) const {
  const Place* p = place(controller);
  return p ? p->directory : "";
}

Cgroup Cgroup::create(const std::string& raw_path, const Resources& resources, MissingController missing) {
  std::string path = normal_path(raw_path);
  CgroupMounts mounts = observe_cgroup_mounts();
  LimitPlan plan = plan_limits(resources, mounts);

  Cgroup old = open(path);
  if (old.exists()) {
    if (old.populated()) throw Error("cannot make cgroup '{}': it exists and has processes", path);
    old.remove();
  }
  Cgroup made{path, {}};
  try {
    for (Hierarchy& h : mounts.hierarchies) {
      std::set<std::string> controllers;
      if (h.version == Version::v2) controllers = needed_controllers(h, plan);
      std::string directory = h.directory(path);
      try {
        retry_when_removed([&] { make_in(h, path, controllers); });
      } catch (const SysError& e) {
        // Another one's hierarchy (a read-only mount in a container): only a limit needs it.
        bool needed = std::any_of(plan.writes.begin(), plan.writes.end(),
                                  [&](const CgroupWrite& w) { return h.has(w.controller); });
        if (needed || (e.code() != EROFS && e.code() != EACCES && e.code() != EPERM)) throw;
        continue;
      }
      made.places_.push_back({std::move(h), std::move(directory)});
    }
    if (made.places_.empty()) throw Error("cannot make cgroup '{}': every hierarchy is read-only", path);
    made.perform(plan, resources, missing);
  } catch (...) {
    try {
      made.remove(milliseconds(0));
    } catch (const Error&) {  // the first failure is the one to report
    }
    throw;
  }
  return made;
}

Cgroup Cgroup::open(const std::string& raw_path) {
  std::string path = normal_path(raw_path);
  Cgroup found{path, {}};
  for (Hierarchy& h : observe_cgroup_mounts().hierarchies) {
    std::string directory = h.directory(path);
    if (rayctl::exists(directory)) found.places_.push_back({std::move(h), std::move(directory)});
  }
  return found;
}

Cgroup Cgroup::child(const std::string& name) const {
  const Place* base = anchor();
  if (!base) throw Error("cannot make cgroup '{}/{}': its parent doesn't exist", path_, name);
  Cgroup made{normal_path(path_ + "/" + name), {}};
  for (const Place& p : places_) {
    Place copy = p;
    if (&p == base) {
      copy.directory = join(p.directory, name);
      if (mkdir(copy.directory.c_str(), 0755) < 0 && errno != EEXIST)
        throw SysError(errno, "cannot make cgroup '{}'", copy.directory);
      if (p.hierarchy.version == Version::v1 && p.hierarchy.has("cpuset"))
        inherit_cpuset(p.directory, copy.directory);
    } else {
      copy.shared = true;
    }
    made.places_.push_back(std::move(copy));
  }
  return made;
}

void Cgroup::apply(const Resources& resources, MissingController missing) {
  CgroupMounts mounts;
  for (const Place& p : places_) mounts.hierarchies.push_back(p.hierarchy);
  if (resources.memory.check_before_update && resources.memory.limit && *resources.memory.limit >= 0) {
    CgroupStats now = stats();
    if (now.memory_current && *now.memory_current > static_cast<uint64_t>(*resources.memory.limit))
      throw Error("cannot limit memory to {} bytes: {} bytes are in use", *resources.memory.limit,
                  *now.memory_current);
  }
  LimitPlan plan = plan_limits(resources, mounts);
  if (const Place* p = unified()) {
    // A controller that was not needed at creation is enabled now.
    std::set<std::string> controllers = needed_controllers(p->hierarchy, plan);
    if (!controllers.empty()) make_in(p->hierarchy, path_, controllers);
  }
  perform(plan, resources, missing);
}

void Cgroup::perform(const LimitPlan& plan, const Resources& resources, MissingController missing) {
  for (const std::string& what : plan.missing) {
    if (missing == MissingController::fail)
      throw Error("cannot set {} of cgroup '{}': this machine has no control group controller for it", what,
                  path_);
    warn("cannot set {} of cgroup '{}': this machine has no control group controller for it", what, path_);
  }
  // Pairs that limit each other (memory and memory + swap, quota and period) are refused in one of the two
  // orders.
  std::vector<const CgroupFile*> again;
  std::vector<std::string> directories;
  auto write = [&](const std::string& directory, const CgroupFile& file) {
    write_existing(join(directory, file.name), file.text);
  };
  for (const CgroupWrite& w : plan.writes) {
    const Place* p = w.controller == "cgroup" ? unified() : place(w.controller);
    if (!p) throw Error("cannot set '{}': cgroup '{}' doesn't exist", w.choices.front().name, path_);
    const CgroupFile* file = nullptr;
    for (const CgroupFile& choice : w.choices)
      if (!file && rayctl::exists(join(p->directory, choice.name))) file = &choice;
    if (!file) {
      std::string name = w.choices.front().name;
      if (w.absent == CgroupWrite::Absent::fail && missing == MissingController::fail)
        throw Error("cannot set '{}' of cgroup '{}': this kernel doesn't have it", name, path_);
      if (w.absent != CgroupWrite::Absent::skip)
        warn("cannot set '{}' of cgroup '{}': this kernel doesn't have it", name, path_);
      continue;
    }
    try {
      write(p->directory, *file);
    } catch (const SysError& e) {
      if (e.code() != EINVAL && e.code() != EBUSY) throw;
      again.push_back(file);
      directories.push_back(p->directory);
    }
  }
  for (size_t i = 0; i < again.size(); ++i) write(directories[i], *again[i]);
  if (plan.device_program) {
    const Place* p = unified();
    if (!p) throw Error("cannot filter devices of cgroup '{}': it doesn't exist", path_);
    attach_device_program(open_directory(p->directory).get(), device_program(resources.devices));
  }
}

CgroupEntry Cgroup::entry() {
  CgroupEntry entry;
  procs_.clear();
  for (const Place& p : places_) {
    if (p.hierarchy.version == Version::v2) {
      unified_directory_ = open_directory(p.directory);
      entry.unified_directory = unified_directory_.get();
    } else {
      procs_.push_back(open_file(join(p.directory, "cgroup.procs"), O_WRONLY));
      entry.procs_files.push_back(procs_.back().get());
    }
  }
  return entry;
}

void Cgroup::close_entry() {
  unified_directory_.reset();
  procs_.clear();
}

void Cgroup::add(pid_t pid) {
  for (const Place& p : places_) write_existing(join(p.directory, "cgroup.procs"), std::to_string(pid));
}

bool Cgroup::exists() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const Place& p) { return !p.shared && rayctl::exists(p.directory); });
}

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

void Cgroup::remove_unused() const noexcept {
  for (const Place& p : places_)
    if (!p.shared) rmdir(p.directory.c_str());
}

void join_cgroup(const std::string& raw_path) {
  std::string path = normal_path(raw_path);
  for (const Hierarchy& h : observe_cgroup_mounts().hierarchies) {
    retry_when_removed([&] {
      make_in(h, path, {});
      write_existing(join(h.directory(path), "cgroup.procs"), "0");
    });
  }
}

void move_to_leaf(const std::string& raw_path, const std::string& leaf) {
  CgroupMounts mounts = observe_cgroup_mounts();
  const Hierarchy* v2 = mounts.unified();
  if (!v2) return;
  std::string from = v2->directory(raw_path);
  std::string to = join(from, leaf);
  if (mkdir(to.c_str(), 0755) < 0 && errno != EEXIST) throw SysError(errno, "cannot make cgroup '{}'", to);
  std::string procs = join(from, "cgroup.procs");
  for (int round = 0; round < 100; ++round) {  // processes may fork meanwhile
    std::string text = read_file(procs);
    if (trim(text).empty()) return;
    for (const std::string& pid : split(trim(text), '\n')) {
      try {
        write_existing(join(to, "cgroup.procs"), pid);
      } catch (const SysError& e) {
        if (e.code() != ESRCH) throw;
      }
    }
  }
  throw Error("cannot move the processes of cgroup '{}' into '{}': new ones keep appearing", from, leaf);
}

}  // namespace rayctl::run
