#include "run/mounts.h"

#include <sys/mount.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

// What the kernel wrote about this context, for example "tmpfs: Bad value for 'size'".
std::string complaint(int fs) {
  char line[512];
  ssize_t n = read(fs, line, sizeof line);
  if (n <= 2) return {};
  std::string text(line + 2, static_cast<size_t>(n) - 2);  // after "e "
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return " (the kernel says: " + text + ")";
}

void configure(int fs, unsigned command, const char* key, const char* value, const std::string& type) {
  if (sys::fsconfig(fs, command, key, value) == 0) return;
  int code = errno;
  throw SysError(code, "cannot mount a '{}' with '{}{}{}'{}", type, key ? key : "", value ? "=" : "",
                 value ? value : "", complaint(fs));
}

Fd finish(int fs, uint64_t attributes, const std::string& type) {
  if (sys::fsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr) < 0) {
    int code = errno;
    throw SysError(code, "cannot mount a '{}'{}", type, complaint(fs));
  }
  return Fd{check(sys::fsmount(fs, static_cast<unsigned>(attributes)), "cannot mount a '{}'", type)};
}

std::string own_path(int fd) {
  return fmt::format("/proc/self/fd/{}", fd);
}

// How mount(2) spells the attributes.
unsigned long remount_flags(int fd, const MountOptions& options, const std::string& name) {
  struct statvfs now;
  check(fstatvfs(fd, &now), "cannot look at mount '{}'", name);
  static constexpr struct {
    uint64_t attribute;
    unsigned long flag, state;
  } table[] = {
      {MOUNT_ATTR_RDONLY, MS_RDONLY, ST_RDONLY},    {MOUNT_ATTR_NOSUID, MS_NOSUID, ST_NOSUID},
      {MOUNT_ATTR_NODEV, MS_NODEV, ST_NODEV},       {MOUNT_ATTR_NOEXEC, MS_NOEXEC, ST_NOEXEC},
      {MOUNT_ATTR_NOATIME, MS_NOATIME, ST_NOATIME}, {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, ST_NODIRATIME}};
  unsigned long flags = MS_REMOUNT | MS_BIND;
  for (const auto& row : table) {
    bool set = (now.f_flag & row.state) != 0;
    if (options.clear & row.attribute) set = false;
    if ((options.set & row.attribute) == row.attribute) set = true;
    if (set) flags |= row.flag;
  }
  return flags;
}

// mount(2) in place of mount_setattr(2), which came with Linux 5.12; the mount must be attached.
void set_attributes_before_5_12(int fd, const MountOptions& options, const std::string& name) {
  if (options.recursive_set || options.recursive_clear || (options.set & MOUNT_ATTR_NOSYMFOLLOW))
    throw Error("cannot set recursive mount options of '{}': it needs Linux 5.12", name);
  std::string path = own_path(fd);
  if (options.set || options.clear)
    check(mount(nullptr, path.c_str(), nullptr, remount_flags(fd, options, name), nullptr),
          "cannot set the mount options of '{}'", name);
  if (options.propagation)
    check(mount(nullptr, path.c_str(), nullptr,
                options.propagation | (options.recursive_propagation ? MS_REC : 0), nullptr),
          "cannot set the propagation of mount '{}'", name);
}

// False when the kernel has no mount_setattr.
bool set_one(int fd, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive,
             const std::string& name) {
  if (!set && !clear && !propagation) return true;
  mount_attr attributes{.attr_set = set, .attr_clr = clear, .propagation = propagation};
  if (sys::mount_setattr(fd, recursive ? AT_RECURSIVE : 0, attributes) == 0) return true;
  if (errno == ENOSYS) return false;
  throw SysError(errno, "cannot set the mount options of '{}'", name);
}

bool try_set_attributes(int fd, const MountOptions& o, const std::string& name) {
  return set_one(fd, o.recursive_set, o.recursive_clear, 0, true, name) &&
         set_one(fd, o.set, o.clear, 0, false, name) &&
         set_one(fd, 0, 0, o.propagation, o.recursive_propagation, name);
}

// Before Linux 6.5 fsconfig only collects overlayfs's options, whatever they are, and the mount fails at the
// end.
bool overlay_reads_options() {
  Fd fs{sys::fsopen("overlay")};
  return fs && sys::fsconfig(fs.get(), FSCONFIG_SET_FLAG, "no_such_option", nullptr) < 0;
}

}  // namespace

Fd clone_mount(int directory, const std::string& path, Depth depth) {
  unsigned flags = OPEN_TREE_CLONE;
  if (depth == Depth::recursive) flags |= AT_RECURSIVE;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  return Fd{sys::open_tree(directory, path.c_str(), flags)};
}

Fd new_file_system(const std::string& type, const std::string& source, const MountData& data,
                   uint64_t attributes) {
  Fd fs{check(sys::fsopen(type.c_str()), "cannot mount a '{}'", type)};
  configure(fs.get(), FSCONFIG_SET_STRING, "source", source.c_str(), type);
  for (const auto& [key, value] : data)
    configure(fs.get(), value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key.c_str(),
              value ? value->c_str() : nullptr, type);
  return finish(fs.get(), attributes, type);
}

Fd new_overlay(const Overlay& overlay) {
  // fsconfig takes at most 255 bytes, mount(2) 4095 for all: long names are replaced by those of open
  // descriptors.
  std::vector<Fd> held;
  auto short_name = [&](const std::string& path, size_t limit) {
    if (path.size() < limit) return path;
    held.push_back(open_file(path, O_PATH | O_DIRECTORY));
    return own_path(held.back().get());
  };
  Fd fs{check(sys::fsopen("overlay"), "cannot mount an 'overlay' (is the kernel module missing?)")};
  auto set = [&](const char* key, const std::string& value) {
    configure(fs.get(), FSCONFIG_SET_STRING, key, value.c_str(), "overlay");
  };
  auto top_first = overlay.lowerdirs;
  std::reverse(top_first.begin(), top_first.end());
  bool one_by_one = false;
  int code = EINVAL;
  if (overlay_reads_options()) {
    one_by_one =
        sys::fsconfig(fs.get(), FSCONFIG_SET_STRING, "lowerdir+", short_name(top_first[0], 256).c_str()) == 0;
    code = errno;
  }
  if (one_by_one) {
    for (size_t i = 1; i < top_first.size(); ++i) set("lowerdir+", short_name(top_first[i], 256));
  } else {
    // Before Linux 6.7. "/proc/self/fd/N" needs no escaping and is the shortest absolute name there is.
    if (code != EINVAL)
      throw SysError(code, "cannot use '{}' as a layer{}", top_first[0], complaint(fs.get()));
    std::string options = "lowerdir=";
    for (size_t i = 0; i < top_first.size(); ++i) options += (i ? ":" : "") + short_name(top_first[i], 0);
    if (!overlay.upper.empty())
      options += ",upperdir=" + short_name(overlay.upper, 0) + ",workdir=" + short_name(overlay.work, 0);
    if (options.size() > 4000)
      throw Error("cannot mount {} layers: this kernel takes about 200", top_first.size());
    // The old call can only attach: over the upper (or top) directory, in this mount namespace alone.
    const std::string& at = overlay.upper.empty() ? top_first[0] : overlay.upper;
    options += ",redirect_dir=off,index=off";
    check(mount("overlay", at.c_str(), "overlay", 0, options.c_str()), "cannot mount an 'overlay' on '{}'",
          at);
    Fd tree = clone_mount(AT_FDCWD, at, Depth::one);
    check(tree.get(), "cannot open the overlay on '{}'", at);
    check(umount2(at.c_str(), MNT_DETACH), "cannot take the overlay from '{}'", at);
    return tree;
  }
  if (!overlay.upper.empty()) {
    set("upperdir", short_name(overlay.upper, 256));
    set("workdir", short_name(overlay.work, 256));
    // Features that would leave a layer which other engines can't read.
    set("redirect_dir", "off");
    set("metacopy", "off");
    set("index", "off");
  }
  return finish(fs.get(), 0, "overlay");
}

void attach(int tree, int target, const MountOptions& options, const std::string& name) {
  bool done = try_set_attributes(tree, options, name);
  attach(tree, target, name);
  if (!done) set_attributes_before_5_12(tree, options, name);
}

void attach(int tree, int target, const std::string& name) {
  check(sys::move_mount_onto(tree, target), "cannot mount on '{}'", name);
}

void set_attributes(int fd, const MountOptions& options, const std::string& name) {
  if (!try_set_attributes(fd, options, name)) set_attributes_before_5_12(fd, options, name);
}

void make_readonly(int fd, Depth depth, const std::string& name) {
  if (set_one(fd, MOUNT_ATTR_RDONLY, 0, 0, depth == Depth::recursive, name)) return;
  set_attributes_before_5_12(fd, {.set = MOUNT_ATTR_RDONLY}, name);
}

}  // namespace rayctl::run
