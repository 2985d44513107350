#include "run/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "run/cgroup_devices.h"
#include "run/cgroup_plan.h"

namespace rayctl::run {

namespace {

using Version = Hierarchy::Version;
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

// Another one's hierarchy: a read-only mount in a container.
bool is_not_ours(const SysError& e) {
  return e.code() == EROFS || e.code() == EACCES || e.code() == EPERM;
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
    if (old.frozen())  // what enters it would stop before it can say why
      throw Error("cannot make cgroup '{}': it exists and is frozen (thaw or remove it)", path);
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
        // Only a limit needs it.
        bool needed = std::any_of(plan.writes.begin(), plan.writes.end(),
                                  [&](const CgroupWrite& w) { return h.has(w.controller); });
        if (needed || !is_not_ours(e)) throw;
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

void Cgroup::remove_unused() const noexcept {
  for (const Place& p : places_)
    if (!p.shared) rmdir(p.directory.c_str());
}

void join_cgroup(const std::string& raw_path, pid_t pid) {
  std::string path = normal_path(raw_path);
  for (const Hierarchy& h : observe_cgroup_mounts().hierarchies) {
    try {
      retry_when_removed([&] {
        make_in(h, path, {});
        write_existing(join(h.directory(path), "cgroup.procs"), std::to_string(pid));
      });
    } catch (const SysError& e) {
      if (!is_not_ours(e)) throw;
    }
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
