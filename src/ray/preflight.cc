#include "ray/preflight.h"

#include <fmt/ranges.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/text.h"

namespace rayctl::ray {

namespace {

bool has_file_system(const std::string& name) {
  for (const std::string& line : split(read_file("/proc/filesystems"), '\n'))
    if (line.ends_with("\t" + name)) return true;
  // A module that isn't loaded yet is listed once something mounts it; its directory tells that it is there.
  utsname system{};
  check(uname(&system), "cannot read the kernel's release");
  for (const char* ending : {"ko", "ko.xz", "ko.zst", "ko.gz"})
    if (exists(fmt::format("/lib/modules/{}/kernel/fs/{}fs/{}.{}", system.release, name, name, ending)))
      return true;
  return false;
}

bool has_netfilter() {
  Fd socket_fd{socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)};
  return static_cast<bool>(socket_fd);
}

}  // namespace

std::vector<std::string> missing_features() {
  std::vector<std::string> missing;
  utsname system{};
  check(uname(&system), "cannot read the kernel's release");
  int major = 0, minor = 0;
  if (std::sscanf(system.release, "%d.%d", &major, &minor) == 2 && (major < 5 || (major == 5 && minor < 10)))
    missing.push_back(fmt::format("Linux 5.10 or newer (this is {})", system.release));
  if (!has_file_system("overlay")) missing.push_back("overlayfs (CONFIG_OVERLAY_FS)");
  if (!has_netfilter()) missing.push_back("nftables (CONFIG_NF_TABLES)");
  if (!exists("/proc/self/ns/net")) missing.push_back("network namespaces (CONFIG_NET_NS)");
  if (!exists("/proc/self/ns/pid")) missing.push_back("PID namespaces (CONFIG_PID_NS)");
  if (!exists("/sys/fs/cgroup")) missing.push_back("a mounted cgroup file system at /sys/fs/cgroup");
  return missing;
}

void preflight() {
  if (!running_as_root())
    throw Error("cannot run a node: it needs root for containers and links: type it with sudo in front");
  if (std::vector<std::string> missing = missing_features(); !missing.empty())
    throw Error("cannot run a node: this machine lacks {}", fmt::join(missing, "; "));
}

}  // namespace rayctl::ray
