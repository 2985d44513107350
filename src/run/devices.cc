// Device nodes and links of the container's /dev.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "run/mounts.h"
#include "run/rootfs.h"

namespace rayctl::run {

namespace {

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

mode_t kind_of(const Device& device) {
  return device.type == 'b' ? S_IFBLK : device.type == 'p' ? S_IFIFO : S_IFCHR;
}

bool is_same(const struct stat& info, const Device& device) {
  if ((info.st_mode & S_IFMT) != kind_of(device)) return false;
  return device.type == 'p' ||
         info.st_rdev == makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
}

// The host's own node of that device: by its name in the container, else by the kernel's name for the number.
Fd open_host_device(const Device& device) {
  struct stat info;
  Fd fd{open(device.path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  if (fd && fstat(fd.get(), &info) == 0 && is_same(info, device)) return fd;
  auto text = read_file_if_exists(fmt::format(
      "/sys/dev/{}/{}:{}/uevent", device.type == 'b' ? "block" : "char", device.major, device.minor));
  for (const std::string& line : split(text.value_or(""), '\n')) {
    if (!line.starts_with("DEVNAME=")) continue;
    fd = Fd{open(join("/dev", line.substr(8)).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (fd && fstat(fd.get(), &info) == 0 && is_same(info, device)) return fd;
  }
  throw Error("cannot bind device '{}': the host has no node of {}:{} (a user namespace can't make one)",
              device.path, device.major, device.minor);
}

}  // namespace

void Rootfs::operator()(const MakeDevice& step) {
  const Device& device = step.device;
  // No link is followed: a /dev that an image made a link would put nodes where they aren't looked for
  // (CVE-2026-41579).
  Fd parent;
  try {
    parent = make_parents(device.path, Links::none);
  } catch (Error& e) {
    e.prefix("making device '{}'", device.path);
    throw;
  }
  std::string name = last_part(device.path);
  if (spec_.linux_.uid_mappings.empty() || device.type == 'p') {
    dev_t number = makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
    if (mknodat(parent.get(), name.c_str(), kind_of(device) | device.mode, number) == 0) {
      if (device.uid || device.gid)
        check(fchownat(parent.get(), name.c_str(), device.uid, device.gid, AT_SYMLINK_NOFOLLOW),
              "cannot set the owner of device '{}'", device.path);
      return;
    }
    struct stat info;
    if (errno == EEXIST) {
      check(fstatat(parent.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW), "cannot stat '{}'", device.path);
      if (!is_same(info, device))
        throw Error("cannot make device '{}': something else is there", device.path);
      return;
    }
    if (errno != EPERM) throw SysError(errno, "cannot make device '{}'", device.path);
  }
  bind_device(device, parent.get(), name);
}

// Where nodes can't be made: user namespaces, devices cgroup.
void Rootfs::bind_device(const Device& device, int parent, const std::string& name) {
  Fd host = open_host_device(device);
  Fd made{openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!made && errno != EEXIST) throw SysError(errno, "cannot make '{}'", device.path);
  Fd target{
      check(openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC), "cannot open '{}'", device.path)};
  Fd tree{check(clone_mount(host.get(), "", Depth::one).release(), "cannot bind device '{}'", device.path)};
  attach(tree.get(), target.get(), device.path);
}

void Rootfs::operator()(const MakeSymlink& step) {
  Fd parent = make_parents(step.path, Links::none);
  if (symlinkat(step.target.c_str(), parent.get(), last_part(step.path).c_str()) < 0 && errno != EEXIST)
    throw SysError(errno, "cannot make link '{}'", step.path);
}

}  // namespace rayctl::run
