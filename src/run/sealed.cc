#include "run/sealed.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/version.h"

namespace rayctl::run {

namespace {

// glibc 2.36's sys/mount.h and linux/mount.h can't be included together, hence the bare system calls.
int fs_open(const char* type) {
  return static_cast<int>(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}
int fs_config(int fd, unsigned command, const char* key, const char* value) {
  return static_cast<int>(syscall(SYS_fsconfig, fd, command, key, value, 0));
}

constexpr const char* running = "/proc/self/exe";
constexpr long tmpfs_magic = 0x01021994;
constexpr auto unused_for = 600;  // seconds after which an older copy is taken to be nobody's next exec

// The same file has the same name; a file that was replaced or changed has another.
std::string identity(const struct stat& info) {
  return fmt::format("{}-{:x}-{:x}-{:x}-{:x}", version(), info.st_dev, info.st_ino, info.st_size,
                     static_cast<uint64_t>(info.st_mtim.tv_sec) * 1'000'000'000 +
                         static_cast<uint64_t>(info.st_mtim.tv_nsec));
}

bool is_sealed(const std::string& path) {
  struct statfs fs;
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == tmpfs_magic && (fs.f_flags & ST_RDONLY) &&
         !(fs.f_flags & ST_NOEXEC);
}

// A tmpfs that holds the copy, read-only, attached nowhere yet: nobody ever sees it half-made.
Fd sealed_mount(const struct stat& info) {
  Fd fs{check(fs_open("tmpfs"), "cannot make a file system for the sealed binary{}",
              geteuid() == 0 ? "" : " (it needs root)")};
  std::string size = std::to_string(info.st_size + (1 << 20));
  for (auto [key, value] : {std::pair{"size", size.c_str()}, {"mode", "0755"}, {"nr_inodes", "8"}})
    check(fs_config(fs.get(), FSCONFIG_SET_STRING, key, value),
          "cannot set '{}' of the sealed binary's file system", key);
  check(fs_config(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr),
        "cannot create the sealed binary's file system");
  Fd mount{static_cast<int>(
      check(syscall(SYS_fsmount, fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV),
            "cannot mount the sealed binary's file system"))};
  {
    Fd from = open_file(running, O_RDONLY);
    Fd to{check(openat(mount.get(), "rayctl", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555),
                "cannot create the sealed binary")};
    check(fchmod(to.get(), 0555), "cannot set the mode of the sealed binary");
    for (off_t at = 0; at < info.st_size;) {
      ssize_t n = check(sendfile(to.get(), from.get(), &at, static_cast<size_t>(info.st_size - at)),
                        "cannot copy '{}'", running);
      if (n == 0) throw Error("cannot copy '{}': it became shorter", running);
    }
  }
  // The file system itself: every mount of it, also the binds in containers, is read-only then.
  Fd again{static_cast<int>(check(syscall(SYS_fspick, mount.get(), "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH),
                                  "cannot seal the binary's file system"))};
  check(fs_config(again.get(), FSCONFIG_SET_FLAG, "ro", nullptr), "cannot seal the binary's file system");
  check(fs_config(again.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr),
        "cannot seal the binary's file system");
  return mount;
}

// sys/mount.h can't be included beside linux/mount.h.
constexpr int umount_nofollow = 8;
constexpr unsigned long remount_read_only = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;

enum class Keep { recent, none };

void remove_copies(const std::string& base, const std::string& except, Keep keep) {
  if (!exists(base)) return;
  for (const std::string& name : list_directory(base)) {
    std::string directory = join(base, name);
    if (name == except || name == "lock") continue;
    struct stat info;
    // The root of the copy's tmpfs was changed last when the copy was made.
    if (stat(directory.c_str(), &info) < 0) continue;
    if (keep == Keep::recent && info.st_mtime + unused_for > time(nullptr)) continue;
    // EBUSY: something runs from it. EINVAL: it isn't mounted (any more, or in this mount namespace).
    if (syscall(SYS_umount2, directory.c_str(), umount_nofollow) < 0 && errno != EINVAL) continue;
    rmdir(directory.c_str());
  }
}

}  // namespace

std::string sealed_binary(const std::string& run_dir) {
  struct stat info;
  check(stat(running, &info), "cannot stat '{}'", running);
  std::string base = join(absolute(run_dir), "sealed");

  char own[4096];
  ssize_t length = readlink(running, own, sizeof own);
  std::string path(own, length > 0 ? static_cast<size_t>(length) : 0);
  if (path.size() > base.size() + 1 && path.compare(0, base.size(), base) == 0 && is_sealed(path))
    return path;

  std::string name = identity(info);
  std::string directory = join(base, name);
  path = join(directory, "rayctl");
  if (is_sealed(path)) return path;

  make_directories(base, 0755);
  FileLock lock(join(base, "lock"), LockKind::exclusive);
  if (is_sealed(path)) return path;
  remove_copies(base, name, Keep::recent);
  Fd mount = sealed_mount(info);
  make_directories(directory, 0755);
  check(syscall(SYS_move_mount, mount.get(), "", AT_FDCWD, directory.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
        "cannot mount the sealed binary at '{}'", directory);
  check(syscall(SYS_mount, nullptr, directory.c_str(), nullptr, remount_read_only, nullptr),
        "cannot make the mount at '{}' read-only", directory);
  if (!is_sealed(path)) throw Error("cannot seal '{}': it is not on a read-only tmpfs", path);
  return path;
}

void remove_sealed_binaries(const std::string& run_dir) {
  std::string base = join(absolute(run_dir), "sealed");
  if (!exists(base)) return;
  {
    FileLock lock(join(base, "lock"), LockKind::exclusive);
    remove_copies(base, "", Keep::none);
    if (list_directory(base) == std::vector<std::string>{"lock"}) unlink(join(base, "lock").c_str());
  }
  rmdir(base.c_str());
}

}  // namespace rayctl::run
