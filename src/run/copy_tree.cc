#include <dirent.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "run/mounts.h"

namespace rayctl::run {

namespace {

using Dir = std::unique_ptr<DIR, decltype([](DIR* d) { closedir(d); })>;

void copy_bytes(int from, int to, const std::string& name) {
  for (;;) {
    ssize_t n = sendfile(to, from, nullptr, size_t{1} << 30);
    check(n, "cannot copy '{}'", name);
    if (n == 0) return;
  }
}

void copy_entry(int source, int target, const char* entry, const struct stat& info, const std::string& name) {
  if (S_ISDIR(info.st_mode)) {
    check(mkdirat(target, entry, 0700), "cannot make directory '{}'", name);
    Fd from{check(openat(source, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "cannot open '{}'",
                  name)};
    Fd to{check(openat(target, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "cannot open '{}'",
                name)};
    copy_tree(from.get(), to.get(), name);
  } else if (S_ISLNK(info.st_mode)) {
    std::string link(static_cast<size_t>(info.st_size) + 1, '\0');
    ssize_t n = check(readlinkat(source, entry, link.data(), link.size()), "cannot read link '{}'", name);
    link.resize(static_cast<size_t>(n));
    check(symlinkat(link.c_str(), target, entry), "cannot make link '{}'", name);
  } else if (S_ISREG(info.st_mode)) {
    Fd from{check(openat(source, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), "cannot open '{}'",
                  name)};
    Fd to{check(openat(target, entry, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "cannot make '{}'",
                name)};
    copy_bytes(from.get(), to.get(), name);
  } else {
    check(mknodat(target, entry, info.st_mode, info.st_rdev), "cannot make '{}'", name);
  }
  check(fchownat(target, entry, info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW),
        "cannot set the owner of '{}'", name);
  if (!S_ISLNK(info.st_mode))
    check(fchmodat(target, entry, info.st_mode & 07777, 0), "cannot set the mode of '{}'", name);
  timespec times[2] = {info.st_atim, info.st_mtim};
  check(utimensat(target, entry, times, AT_SYMLINK_NOFOLLOW), "cannot set the times of '{}'", name);
}

}  // namespace

void copy_tree(int source, int target, const std::string& name) {
  Fd readable{check(openat(source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "cannot open '{}'", name)};
  Dir dir{fdopendir(readable.get())};
  if (!dir) throw SysError(errno, "cannot list '{}'", name);
  readable.release();
  for (;;) {
    errno = 0;
    dirent* entry = readdir(dir.get());
    if (!entry) break;
    std::string_view found = entry->d_name;
    if (found == "." || found == "..") continue;
    std::string path = join(name, found);
    struct stat info;
    check(fstatat(dirfd(dir.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW), "cannot stat '{}'", path);
    copy_entry(dirfd(dir.get()), target, entry->d_name, info, path);
  }
  if (errno) throw SysError(errno, "cannot list '{}'", name);
}

}  // namespace rayctl::run
