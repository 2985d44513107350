// Files and directories by path or beneath a directory fd; every fd is O_CLOEXEC.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace rayctl {

// The whole file; an error when it is larger than `limit` bytes.
std::string read_file(const std::string& path, size_t limit = 64 << 20);
std::optional<std::string> read_file_if_exists(const std::string& path, size_t limit = 64 << 20);
std::string read_fd(int fd, std::string_view name,
                    size_t limit = 64 << 20);  // from the current offset to the end
void write_fd(int fd, std::string_view bytes,
              std::string_view name);  // all of it, through short writes and EINTR

// Replaces `path` atomically: temporary file beside it, fsync, rename, fsync of the directory.
// A crash leaves the old file or the new one.
void replace_file(const std::string& path, std::string_view bytes, mode_t mode = 0644);

// Writes into an existing file (procfs, cgroupfs, sysfs): one open, one write, no creation.
void write_existing(const std::string& path, std::string_view bytes);

Fd open_file(const std::string& path, int flags, mode_t mode = 0600);  // adds O_CLOEXEC
Fd open_directory(const std::string& path);  // O_PATH would not allow fsync: O_RDONLY | O_DIRECTORY

// openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS): `path` is resolved as if `root` were "/"; `..` and
// absolute symlinks stay inside. Retries EAGAIN (a rename raced) a bounded number of times. Returns an empty
// Fd and errno on failure: the caller names the object.
Fd open_in_root(int root, const std::string& path, int flags, mode_t mode = 0);
Fd open_in_root_checked(int root, const std::string& path, int flags, mode_t mode = 0);  // throws

bool exists(const std::string& path);                                // lstat; a dangling symlink exists
std::optional<struct stat> status(const std::string& path);          // lstat; empty when nothing is there
void make_directories(const std::string& path, mode_t mode = 0755);  // mkdir -p
void remove_tree(
    const std::string& path);  // rm -rf that stays on one file system and follows no symlink; absent is fine
std::vector<std::string> list_directory(const std::string& path);  // names without "." and "..", sorted
void sync_directory(const std::string& path);
std::string join(std::string_view directory, std::string_view name);  // one '/' between them
std::string absolute(const std::string& path);  // against the working directory, not resolved

// A directory below `parent` (default $TMPDIR or /tmp) that is removed with its content at the end.
class TempDir {
 public:
  explicit TempDir(const std::string& parent = "");
  TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// An exclusive or shared flock(2) on a file that is created when missing; released by the destructor.
enum class LockKind { shared, exclusive };
class FileLock {
 public:
  FileLock(const std::string& path, LockKind kind);                                 // waits
  static std::optional<FileLock> try_lock(const std::string& path, LockKind kind);  // empty when it is held
 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace rayctl
