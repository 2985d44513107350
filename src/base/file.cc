#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace rayctl {

namespace {

std::string random_suffix() {
  uint64_t value = 0;
  check(getrandom(&value, sizeof value, 0), "cannot read random bytes");
  return fmt::format("{:016x}", value);
}

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

using Dir = std::unique_ptr<DIR, decltype([](DIR* d) { closedir(d); })>;

Dir open_stream(Fd fd, std::string_view name) {
  Dir dir{fdopendir(fd.get())};
  if (!dir) throw SysError(errno, "cannot list '{}'", name);
  fd.release();
  return dir;
}

std::vector<std::string> names_in(DIR* dir, std::string_view name) {
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    dirent* entry = readdir(dir);
    if (!entry) {
      if (errno) throw SysError(errno, "cannot list '{}'", name);
      break;
    }
    std::string_view found = entry->d_name;
    if (found != "." && found != "..") names.emplace_back(found);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void remove_at(int parent, const std::string& name, const std::string& path, dev_t device) {
  if (unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno != EISDIR && errno != EPERM) throw SysError(errno, "cannot remove '{}'", path);
  Fd fd{openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (!fd) {
    if (errno == ENOENT) return;
    throw SysError(errno, "cannot remove '{}'", path);
  }
  struct stat found;
  check(fstat(fd.get(), &found), "cannot stat '{}'", path);
  if (found.st_dev != device) throw Error("cannot remove '{}': it is a mount point", path);
  Dir dir = open_stream(std::move(fd), path);
  for (const std::string& child : names_in(dir.get(), path))
    remove_at(dirfd(dir.get()), child, path + "/" + child, device);
  if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
    throw SysError(errno, "cannot remove '{}'", path);
}

}  // namespace

std::string read_fd(int fd, std::string_view name, size_t limit) {
  std::string bytes;
  struct stat info;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0)
    bytes.reserve(std::min<size_t>(limit, static_cast<size_t>(info.st_size)) + 1);
  char buffer[16384];
  for (;;) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    check(n, "cannot read '{}'", name);
    if (n == 0) return bytes;
    if (bytes.size() + static_cast<size_t>(n) > limit)
      throw Error("cannot read '{}': it is larger than {} bytes", name, limit);
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

std::string read_file(const std::string& path, size_t limit) {
  return read_fd(open_file(path, O_RDONLY).get(), path, limit);
}

std::optional<std::string> read_file_if_exists(const std::string& path, size_t limit) {
  Fd fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    throw SysError(errno, "cannot open '{}'", path);
  }
  return read_fd(fd.get(), path, limit);
}

void write_fd(int fd, std::string_view bytes, std::string_view name) {
  while (!bytes.empty()) {
    ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    check(n, "cannot write '{}'", name);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void replace_file(const std::string& path, std::string_view bytes, mode_t mode) {
  std::string temporary = path + ".tmp-" + random_suffix();
  Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
  try {
    check(fchmod(fd.get(), mode), "cannot set the mode of '{}'", temporary);
    write_fd(fd.get(), bytes, temporary);
    check(fsync(fd.get()), "cannot sync '{}'", temporary);
    check(rename(temporary.c_str(), path.c_str()), "cannot replace '{}'", path);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  sync_directory(parent_of(path));
}

void write_existing(const std::string& path, std::string_view bytes) {
  Fd fd = open_file(path, O_WRONLY);
  ssize_t n = write(fd.get(), bytes.data(), bytes.size());
  check(n, "cannot write '{}' to '{}'", bytes, path);
  if (static_cast<size_t>(n) != bytes.size())
    throw Error("cannot write '{}' to '{}': short write", bytes, path);
}

Fd open_file(const std::string& path, int flags, mode_t mode) {
  return Fd{check(open(path.c_str(), flags | O_CLOEXEC, mode), "cannot open '{}'", path)};
}

Fd open_directory(const std::string& path) {
  return open_file(path, O_RDONLY | O_DIRECTORY);
}

Fd open_in_root(int root, const std::string& path, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & (O_CREAT | O_TMPFILE)) ? mode : 0;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  for (int tries = 0; tries < 64; ++tries) {
    long fd = syscall(SYS_openat2, root, path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd >= 0) return Fd{static_cast<int>(fd)};
    if (errno != EAGAIN && errno != EINTR) return Fd{};
  }
  errno = EAGAIN;
  return Fd{};
}

Fd open_in_root_checked(int root, const std::string& path, int flags, mode_t mode) {
  Fd fd = open_in_root(root, path, flags, mode);
  if (!fd) throw SysError(errno, "cannot open '{}'", path);
  return fd;
}

bool exists(const std::string& path) {
  return status(path).has_value();
}

std::optional<struct stat> status(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) == 0) return info;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  throw SysError(errno, "cannot stat '{}'", path);
}

void make_directories(const std::string& path, mode_t mode) {
  if (path.empty() || mkdir(path.c_str(), mode) == 0) return;
  int code = errno;
  if (code == ENOENT) {
    make_directories(parent_of(path), mode);
    if (mkdir(path.c_str(), mode) == 0) return;
    code = errno;
  }
  struct stat info;
  if (code == EEXIST && stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return;
  throw SysError(code == EEXIST ? ENOTDIR : code, "cannot make directory '{}'", path);
}

void remove_tree(const std::string& path) {
  auto info = status(path);
  if (!info) return;
  remove_at(AT_FDCWD, path, path, info->st_dev);
}

std::vector<std::string> list_directory(const std::string& path) {
  Dir dir = open_stream(open_directory(path), path);
  return names_in(dir.get(), path);
}

void sync_directory(const std::string& path) {
  Fd fd = open_directory(path);
  check(fsync(fd.get()), "cannot sync directory '{}'", path);
}

std::string join(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') path += '/';
  while (!name.empty() && name.front() == '/') name.remove_prefix(1);
  return path.append(name);
}

std::string absolute(const std::string& path) {
  if (!path.empty() && path.front() == '/') return path;
  std::unique_ptr<char, decltype([](char* p) { free(p); })> here{getcwd(nullptr, 0)};
  if (!here) throw SysError(errno, "cannot find the working directory");
  return path.empty() || path == "." ? std::string(here.get()) : join(here.get(), path);
}

TempDir::TempDir(const std::string& parent) {
  const char* from_environment = std::getenv("TMPDIR");
  std::string base = !parent.empty()                         ? parent
                     : from_environment && *from_environment ? from_environment
                                                             : "/tmp";
  path_ = join(base, "rayctl-" + random_suffix());
  check(mkdir(path_.c_str(), 0700), "cannot make directory '{}'", path_);
}

TempDir::~TempDir() {
  if (path_.empty()) return;
  try {
    remove_tree(path_);
  } catch (const std::exception&) {  // a destructor: what is left is below a temporary directory
  }
}

namespace {

Fd lock_file(const std::string& path, int operation) {
  Fd fd = open_file(path, O_RDWR | O_CREAT, 0600);
  while (flock(fd.get(), operation) < 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return Fd{};
    throw SysError(errno, "cannot lock '{}'", path);
  }
  return fd;
}

}  // namespace

FileLock::FileLock(const std::string& path, LockKind kind)
    : fd_(lock_file(path, kind == LockKind::shared ? LOCK_SH : LOCK_EX)) {}

std::optional<FileLock> FileLock::try_lock(const std::string& path, LockKind kind) {
  Fd fd = lock_file(path, (kind == LockKind::shared ? LOCK_SH : LOCK_EX) | LOCK_NB);
  if (!fd) return std::nullopt;
  return FileLock{std::move(fd)};
}

}  // namespace rayctl
