// The container's root file system, from inside its new mount namespace: mounted, filled and entered by
// descriptor, so that nothing in an image or a volume can lead out of it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "run/cgroup_mounts.h"
#include "run/console.h"
#include "run/container.h"
#include "run/plan.h"

namespace rayctl::run {

// Detached copies of what bind mounts show.
using BindSources = std::map<const MountBind*, Fd>;

// Taken by the parent for a child in a new user namespace, whose root may not reach what the host's can (a
// source below a directory of mode 0700). What can't be taken is left to the child, which says why.
BindSources take_bind_sources(const Plan& plan);

// Runs in the child, in its own mount namespace; the host's tree is visible until enter().
class Rootfs {
 public:
  // Opens the sources of all bind mounts that aren't in `sources` on the host's tree, then mounts the root.
  // `cgroups` is the child's view after it joined its cgroup and before it made a cgroup namespace.
  Rootfs(const Spec& spec, const Plan& plan, const std::string& bundle, CgroupMounts cgroups,
         BindSources sources);

  void run_steps();
  void enter(RootSwitch how);  // leaves the host's tree for good; the working directory is the new root

  void take_off() noexcept;  // undoes the mounts of a start that failed in a mount namespace that others use

  int root() const { return root_.get(); }
  Terminal& terminal() { return terminal_; }  // made by MakeConsole

  // Each step; `name` in errors is the path in the container.
  void operator()(const MountFileSystem& step);
  void operator()(const MountBind& step);
  void operator()(const Remount& step);
  void operator()(const MountCgroup& step);
  void operator()(const MakeDevice& step);
  void operator()(const MakeSymlink& step);
  void operator()(const MakeConsole& step);
  void operator()(const MaskPath& step);
  void operator()(const ReadonlyPath& step);
  void operator()(const SetSysctl& step);
  void operator()(const MakeDirectory& step);

 private:
  enum class Kind { file, directory };
  enum class Links { within_root, none };
  struct Target {
    Fd fd;
    bool existed;
  };

  void mount_root(const std::string& bundle);
  Fd open_within(const std::string& path, int flags, Links links) const;  // empty and errno on failure
  Target open_target(const std::string& path, Kind kind, Links links);
  Fd make_parents(const std::string& path, Links links,
                  int depth = 0);  // the open parent directory of `path`
  void refuse_inside_proc(int target, int source, const std::string& destination) const;
  void bind_device(const Device& device, int parent, const std::string& name);
  void mount_legacy_cgroups(const MountCgroup& step);
  bool private_cgroup_namespace() const { return plan_.new_cgroup_namespace; }

  const Spec& spec_;
  const Plan& plan_;
  CgroupMounts cgroups_;
  BindSources sources_;
  Fd proc_;  // the host's /proc
  Fd root_;
  Fd null_device_, empty_directory_;  // what masks are made of
  Terminal terminal_;
};

// After the end of a container without a mount namespace of its own: unmounts what was mounted on its root
// `path`.
void take_off_root(const Spec& spec, const std::string& path);

}  // namespace rayctl::run
