#include "run/rootfs.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <algorithm>
#include <climits>

#include "base/error.h"
#include "base/file.h"
#include "run/mounts.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

std::string parent_path(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

bool is_proc(int fd) {
  struct statfs fs;
  return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

// The root directory of the mount that `fd` lies on, up to this process's root.
Fd mount_root_of(int fd) {
  auto mount_id = [](int of) {
    struct statx info;
    check(statx(of, "", AT_EMPTY_PATH, STATX_MNT_ID, &info), "cannot look at a mount");
    return info.stx_mnt_id;
  };
  Fd here{check(openat(fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open the root")};
  for (uint64_t id = mount_id(here.get());;) {
    Fd up{check(openat(here.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open the root's parent")};
    struct stat a, b;
    check(fstat(here.get(), &a), "cannot stat the root");
    check(fstat(up.get(), &b), "cannot stat the root's parent");
    if (mount_id(up.get()) != id || (a.st_dev == b.st_dev && a.st_ino == b.st_ino)) return here;
    here = std::move(up);
  }
}

}  // namespace

BindSources take_bind_sources(const Plan& plan) {
  BindSources sources;
  // As if the child had made them after it set the propagation of everything: nothing goes back to the host.
  mount_attr attributes{.propagation = MS_SLAVE};
  for (const Step& step : plan.steps) {
    const auto* bind = std::get_if<MountBind>(&step);
    if (!bind) continue;
    Fd source = clone_mount(AT_FDCWD, bind->source, bind->options.recursive ? Depth::recursive : Depth::one);
    if (!source || sys::mount_setattr(source.get(), AT_RECURSIVE, attributes) < 0) continue;
    mount_attr shared{.propagation = MS_SHARED};
    if (plan.root_propagation & MS_SHARED && sys::mount_setattr(source.get(), AT_RECURSIVE, shared) < 0)
      continue;
    sources[bind] = std::move(source);
  }
  return sources;
}

Rootfs::Rootfs(const Spec& spec, const Plan& plan, const std::string& bundle, CgroupMounts cgroups,
               BindSources sources)
    : spec_(spec), plan_(plan), cgroups_(std::move(cgroups)), sources_(std::move(sources)) {
  proc_ = Fd{check(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open '/proc'")};
  if (!is_proc(proc_.get())) throw Error("cannot use '/proc': it is not a proc file system");
  if (has_own_mounts(spec))
    check(mount(nullptr, "/", nullptr, plan.root_propagation, nullptr), "cannot set the propagation of '/'");
  for (const Step& step : plan.steps) {
    const auto* bind = std::get_if<MountBind>(&step);
    if (!bind || sources_.contains(bind)) continue;
    Fd source = clone_mount(AT_FDCWD, bind->source, bind->options.recursive ? Depth::recursive : Depth::one);
    // The locked mounts below a source in a user namespace can only be taken along.
    if (!source && errno == EINVAL) source = clone_mount(AT_FDCWD, bind->source, Depth::recursive);
    sources_[bind] = Fd{check(source.release(), "cannot bind '{}' on '{}'", bind->source, bind->destination)};
  }
  null_device_ = Fd{check(open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC), "cannot open '/dev/null'")};
  struct stat null;
  check(fstat(null_device_.get(), &null), "cannot stat '/dev/null'");
  if (!S_ISCHR(null.st_mode) || null.st_rdev != makedev(1, 3))
    throw Error("cannot use '/dev/null': it is not the null device");
  mount_root(bundle);
}

void Rootfs::mount_root(const std::string& bundle) {
  std::string at;
  if (spec_.overlay) {
    // Attached where nobody but this mount namespace sees it: pivot_root wants an attached mount.
    at = spec_.overlay->upper.empty() ? spec_.overlay->lowerdirs.back() : spec_.overlay->upper;
    root_ = new_overlay(*spec_.overlay);
  } else {
    at = spec_.root.path.starts_with("/") ? spec_.root.path : join(bundle, spec_.root.path);
    root_ = Fd{check(clone_mount(AT_FDCWD, at, Depth::recursive).release(), "cannot open the root '{}'", at)};
  }
  Fd target{check(open(at.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open the root '{}'", at)};
  if (!has_own_mounts(spec_)) {
    // One mount on the root directory carries all others: detaching it (take_off_root) takes them away.
    // Private after it was attached, for below a shared mount it became shared by that.
    attach(root_.get(), target.get(), at);
    set_attributes(root_.get(), {.propagation = MS_PRIVATE, .recursive_propagation = true}, at);
    return;
  }
  if (plan_.root_propagation & MS_SHARED) {
    // pivot_root refuses a shared root or parent, and the host must not see what is mounted on the root.
    set_attributes(mount_root_of(target.get()).get(), {.propagation = MS_PRIVATE}, at);
    set_attributes(root_.get(), {.propagation = MS_SLAVE}, at);
  }
  attach(root_.get(), target.get(), at);
}

void Rootfs::run_steps() {
  for (const Step& step : plan_.steps) std::visit(*this, step);
}

Fd Rootfs::open_within(const std::string& path, int flags, Links links) const {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  if (links == Links::none) how.resolve |= RESOLVE_NO_SYMLINKS;
  for (int tries = 0; tries < 64; ++tries) {  // EAGAIN: a rename raced with ".."
    Fd fd{sys::openat2(root_.get(), path.c_str(), how)};
    if (fd || errno != EAGAIN) return fd;
  }
  return Fd{};
}

Fd Rootfs::make_parents(const std::string& path, Links links, int depth) {
  std::string parent = parent_path(path), name = last_part(parent);
  Fd found = open_within(parent, O_PATH | O_DIRECTORY, links);
  if (found) return found;
  if (errno != ENOENT || depth > 40) throw SysError(errno, "cannot open '{}'", parent);
  Fd above = make_parents(parent, links, depth + 1);
  // One component below a directory that was resolved within the root: nothing here can lead out of it.
  if (mkdirat(above.get(), name.c_str(), 0755) < 0) {
    char target[PATH_MAX];
    ssize_t n = errno == EEXIST ? readlinkat(above.get(), name.c_str(), target, sizeof target) : -1;
    if (n < 0 && errno != EINVAL) throw SysError(errno, "cannot make directory '{}'", parent);
    if (n > 0 && links == Links::within_root) {  // /var/run -> /run, where the image has no /run
      std::string link(target, static_cast<size_t>(n));
      make_parents(clean_path(link[0] == '/' ? link : parent_path(parent) + "/" + link) + "/.", links,
                   depth + 1);
    }
  }
  found = open_within(parent, O_PATH | O_DIRECTORY, links);
  if (!found) throw SysError(errno, "cannot open '{}'", parent);
  return found;
}

Rootfs::Target Rootfs::open_target(const std::string& path, Kind kind, Links links) {
  if (Fd fd = open_within(path, O_PATH, links)) return {std::move(fd), true};
  if (errno == ELOOP && links == Links::none)
    throw Error("cannot mount on '{}': a part of that path is a symbolic link in the image", path);
  if (errno != ENOENT) throw SysError(errno, "cannot open '{}'", path);
  Fd parent = make_parents(path, links);
  std::string name = last_part(path);
  if (kind == Kind::directory) {
    if (mkdirat(parent.get(), name.c_str(), 0755) < 0 && errno != EEXIST)
      throw SysError(errno, "cannot make mount point '{}'", path);
  } else {
    Fd made{openat(parent.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644)};
    if (!made && errno != EEXIST) throw SysError(errno, "cannot make mount point '{}'", path);
  }
  Fd fd = open_within(path, O_PATH, links);
  if (!fd) throw SysError(errno, "cannot open mount point '{}'", path);
  return {std::move(fd), false};
}

// A volume or link that puts the mount inside /proc could fake what the runtime itself writes and reads there
// (CVE-2019-16884 and its kin). Files that lxcfs and the like put there stay possible.
void Rootfs::refuse_inside_proc(int target, int source, const std::string& destination) const {
  if (!is_proc(target) && destination != "/proc" && !destination.starts_with("/proc/")) return;
  static constexpr const char* allowed[] = {
      "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo",  "/proc/stat",    "/proc/swaps",
      "/proc/uptime",  "/proc/loadavg",   "/proc/slabinfo", "/proc/net/dev", "/proc/sys/kernel/ns_last_pid"};
  if (std::find(std::begin(allowed), std::end(allowed), destination) != std::end(allowed) || is_proc(source))
    return;
  throw Error("cannot mount on '{}': it is inside /proc", destination);
}

void Rootfs::operator()(const MountFileSystem& step) {
  bool special = step.type == "proc" || step.type == "sysfs";
  Target target = open_target(step.destination, Kind::directory, special ? Links::none : Links::within_root);
  MountData data = step.options.data;
  uint64_t attributes = step.options.set;
  if (step.type == "tmpfs") {
    bool has_mode = std::any_of(data.begin(), data.end(), [](const auto& d) { return d.first == "mode"; });
    struct stat info;
    if (!has_mode && target.existed && fstat(target.fd.get(), &info) == 0)
      data.emplace_back("mode", fmt::format("{:o}", info.st_mode & 07777));
  }
  if (step.options.copy_up) attributes &= ~uint64_t{MOUNT_ATTR_RDONLY};
  Fd tree;
  try {
    tree = new_file_system(step.type, step.source, data, attributes);
  } catch (Error& e) {
    e.prefix("mounting '{}'", step.destination);
    throw;
  }
  refuse_inside_proc(target.fd.get(), tree.get(), step.destination);
  if (step.options.copy_up && target.existed) copy_tree(target.fd.get(), tree.get(), step.destination);
  MountOptions rest = step.options;
  rest.clear = 0;  // nothing is set in a new file system but what was asked for
  if (!step.options.copy_up) rest.set = 0;
  attach(tree.get(), target.fd.get(), rest, step.destination);
}

void Rootfs::operator()(const MountBind& step) {
  Fd& taken = sources_.at(&step);
  // Since Linux 6.8 mountinfo lists mounts by age: copied again where the kernel can (6.15), so that the list
  // shows the order of the configuration.
  if (Fd again = clone_mount(taken.get(), "", Depth::recursive)) taken = std::move(again);
  int source = taken.get();
  struct stat info;
  check(fstat(source, &info), "cannot stat '{}'", step.source);
  Target target =
      open_target(step.destination, S_ISDIR(info.st_mode) ? Kind::directory : Kind::file, Links::within_root);
  refuse_inside_proc(target.fd.get(), source, step.destination);
  attach(source, target.fd.get(), step.options, step.destination);
}

void Rootfs::operator()(const Remount& step) {
  Fd fd = open_in_root(root_.get(), step.destination, O_PATH);
  if (!fd) throw SysError(errno, "cannot open '{}'", step.destination);
  set_attributes(fd.get(), step.options, step.destination);
}

void Rootfs::operator()(const MountCgroup& step) {
  if (cgroups_.legacy()) return mount_legacy_cgroups(step);
  const Hierarchy* unified = cgroups_.unified();
  if (!unified) throw Error("cannot mount '{}': the machine has no cgroups mounted", step.destination);
  if (!(step.options.set & MOUNT_ATTR_RDONLY) && !private_cgroup_namespace())
    throw Error("cannot mount '{}': writable cgroups need a cgroup namespace of the container's own",
                step.destination);
  Target target = open_target(step.destination, Kind::directory, Links::none);
  Fd tree;
  if (private_cgroup_namespace()) {
    tree = new_file_system("cgroup2", "cgroup", step.options.data, step.options.set);
  } else {
    std::string own = unified->directory(unified->own);
    tree = Fd{check(clone_mount(AT_FDCWD, own, Depth::one).release(), "cannot bind '{}'", own)};
  }
  MountOptions rest = step.options;
  rest.clear = 0;
  attach(tree.get(), target.fd.get(), rest, step.destination);
}

// As every v1 container has it: a tmpfs with a directory per hierarchy, each the container's own and always
// read-only, since whoever may write release_agent runs programs on the host (CVE-2022-0492).
void Rootfs::mount_legacy_cgroups(const MountCgroup& step) {
  Target target = open_target(step.destination, Kind::directory, Links::none);
  Fd frame = new_file_system("tmpfs", "tmpfs", {{"mode", "755"}, {"size", "64k"}},
                             MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  attach(frame.get(), target.fd.get(), step.destination);
  for (const Hierarchy& hierarchy : cgroups_.hierarchies) {
    if (hierarchy.version != Hierarchy::Version::v1) continue;
    std::string directory = last_part(hierarchy.mount), name = step.destination + "/" + directory;
    check(mkdirat(frame.get(), directory.c_str(), 0755), "cannot make directory '{}'", name);
    Fd at{check(openat(frame.get(), directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open '{}'",
                name)};
    Fd tree;
    if (private_cgroup_namespace()) {
      MountData data;
      for (const std::string& controller : hierarchy.controllers) {
        if (controller.starts_with("name="))
          data.emplace_back("name", controller.substr(5));
        else
          data.emplace_back(controller, std::nullopt);
      }
      tree = new_file_system("cgroup", "cgroup", data, 0);
    } else {
      std::string own = hierarchy.directory(hierarchy.own);
      tree = Fd{check(clone_mount(AT_FDCWD, own, Depth::one).release(), "cannot bind '{}'", own)};
    }
    attach(tree.get(), at.get(),
           {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC}, name);
    for (const std::string& controller : hierarchy.controllers)
      if (controller != directory && !controller.starts_with("name="))
        symlinkat(directory.c_str(), frame.get(), controller.c_str());  // /sys/fs/cgroup/cpu -> cpu,cpuacct
  }
  make_readonly(frame.get(), Depth::one, step.destination);
}

void Rootfs::operator()(const MakeConsole&) {
  terminal_ = open_terminal(root_.get(), spec_.process.console_size);
  Target target = open_target("/dev/console", Kind::file, Links::none);
  Fd tree = clone_mount(terminal_.slave.get(), "", Depth::one);
  check(tree.get(), "cannot bind the terminal on '/dev/console'");
  attach(tree.get(), target.fd.get(), "/dev/console");
}

void Rootfs::operator()(const MaskPath& step) {
  Fd target = open_in_root(root_.get(), step.path, O_PATH);
  if (!target) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return;
    throw SysError(errno, "cannot hide '{}'", step.path);
  }
  struct stat info, now;
  check(fstat(target.get(), &info), "cannot stat '{}'", step.path);
  Fd tree;
  if (!S_ISDIR(info.st_mode)) {
    tree = clone_mount(null_device_.get(), "", Depth::one);
    check(tree.get(), "cannot bind '/dev/null'");
  } else if (!empty_directory_) {
    empty_directory_ =
        new_file_system("tmpfs", "tmpfs", {{"mode", "555"}, {"nr_blocks", "1"}, {"nr_inodes", "1"}},
                        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    attach(empty_directory_.get(), target.get(), step.path);
  } else {
    tree = clone_mount(empty_directory_.get(), "", Depth::one);
    check(tree.get(), "cannot copy an empty directory's mount");
  }
  // Read-only: the node is the host's, and its mode must not be changed through the mask.
  if (tree)
    attach(tree.get(), target.get(), {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC},
           step.path);
  // Whatever raced: what the path leads to now must be the mask.
  Fd again = open_in_root(root_.get(), step.path, O_PATH);
  check(again.get(), "cannot hide '{}'", step.path);
  check(fstat(again.get(), &now), "cannot stat '{}'", step.path);
  struct stat mask;
  check(fstat(S_ISDIR(info.st_mode) ? empty_directory_.get() : null_device_.get(), &mask),
        "cannot stat a mask");
  if (now.st_dev != mask.st_dev || now.st_ino != mask.st_ino)
    throw Error("cannot hide '{}': it changed meanwhile", step.path);
}

void Rootfs::operator()(const ReadonlyPath& step) {
  Fd target = open_in_root(root_.get(), step.path, O_PATH);
  if (!target) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) return;
    throw SysError(errno, "cannot make '{}' read-only", step.path);
  }
  Fd tree = clone_mount(target.get(), "", Depth::recursive);
  check(tree.get(), "cannot make '{}' read-only", step.path);
  attach(tree.get(), target.get(), step.path);
  make_readonly(tree.get(), Depth::recursive, step.path);
  struct stat before, now;
  Fd again = open_in_root(root_.get(), step.path, O_PATH);
  if (!again || fstat(again.get(), &now) < 0 || fstat(tree.get(), &before) < 0 ||
      now.st_dev != before.st_dev || now.st_ino != before.st_ino)
    throw Error("cannot make '{}' read-only: it changed meanwhile", step.path);
}

// Through the host's own /proc, which shows the sysctls of the namespaces that this process is in.
void Rootfs::operator()(const SetSysctl& step) {
  std::string path = "sys/" + step.path;
  open_how how{.flags = O_WRONLY | O_CLOEXEC,
               .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_BENEATH};
  Fd fd{check(sys::openat2(proc_.get(), path.c_str(), how), "cannot set sysctl '{}'", step.path)};
  if (!is_proc(fd.get())) throw Error("cannot set sysctl '{}': it is not on a proc file system", step.path);
  check(write(fd.get(), step.value.data(), step.value.size()), "cannot set sysctl '{}' to '{}'", step.path,
        step.value);
}

void Rootfs::operator()(const MakeDirectory& step) {
  if (open_in_root(root_.get(), step.path, O_PATH)) return;
  if (errno != ENOENT) return;  // chdir will say why, as the container's user
  Fd parent = make_parents(step.path, Links::within_root);
  if (mkdirat(parent.get(), last_part(step.path).c_str(), 0755) < 0 && errno != EEXIST && errno != EROFS)
    throw SysError(errno, "cannot make the working directory '{}'", step.path);
}

void Rootfs::enter(RootSwitch how) {
  check(fchdir(root_.get()), "cannot enter the root");
  if (how == RootSwitch::in_place) {
    check(chroot("."), "cannot change the root");
  } else if (how == RootSwitch::pivot) {
    // "." twice: the old root ends up mounted over the new one, and is taken off again.
    if (sys::pivot_root(".", ".") < 0) {
      int code = errno;
      throw SysError(code, "cannot change the root{}",
                     code == EINVAL ? " (is the host's root an initramfs? then use --no-pivot)" : "");
    }
    // The unmounting must not reach the host through shared mounts.
    check(mount(nullptr, ".", nullptr, MS_REC | MS_SLAVE, nullptr),
          "cannot set the propagation of the old root");
    check(umount2(".", MNT_DETACH), "cannot leave the old root");
  } else {
    check(mount(".", "/", nullptr, MS_MOVE, nullptr), "cannot move the root");
    check(chroot("."), "cannot change the root");
  }
  check(chdir("/"), "cannot enter the root");
  if (plan_.final_propagation)
    check(mount(nullptr, "/", nullptr, plan_.final_propagation, nullptr),
          "cannot set the propagation of '/'");
  if (spec_.root.readonly) {
    Fd root{check(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open '/'")};
    // A file system that only this container has turns read-only by its mount: the overlay itself stays
    // writable below.
    if (mount_attr attributes{.attr_set = MOUNT_ATTR_RDONLY};
        sys::mount_setattr(root.get(), 0, attributes) < 0) {
      if (errno != ENOSYS) throw SysError(errno, "cannot make '/' read-only");
      check(mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr),
            "cannot make '/' read-only");
    }
  }
}

void Rootfs::take_off() noexcept {
  if (fchdir(root_.get()) == 0) (void)!umount2(".", MNT_DETACH);
}

void take_off_root(const Spec& spec, const std::string& path) {
  if (has_own_mounts(spec) || spec.overlay) return;
  auto joined = std::find_if(spec.linux_.namespaces.begin(), spec.linux_.namespaces.end(),
                             [](const Namespace& n) { return n.type == NamespaceType::mount; });
  pid_t child = check(fork(), "cannot make a process");
  if (child == 0) {
    if (joined != spec.linux_.namespaces.end()) {
      Fd space{open(joined->path.c_str(), O_RDONLY | O_CLOEXEC)};
      if (setns(space.get(), CLONE_NEWNS) < 0) _exit(0);  // it is gone, and its mounts with it
    }
    _exit(umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT);
  }
  int ended = 0;
  while (waitpid(child, &ended, 0) < 0 && errno == EINTR) continue;
  if (ended != 0) throw Error("cannot unmount the root '{}'", path);
}

}  // namespace rayctl::run
