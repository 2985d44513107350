#include "oci/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/tree_path.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view whiteout_prefix = ".wh.";
constexpr std::string_view aufs_prefix = ".wh..wh.";  // aufs's own files: not part of the layer
constexpr std::string_view opaque_name = ".wh..wh..opq";
constexpr size_t most_cached = 64;

using Type = TarEntry::Type;

struct Stamp {
  std::string path;
  timespec times[2];
};

// Attributes that a layer may set. Never overlayfs's own: a layer that brings them would forge whiteouts and
// redirects; nor those that belong to this host (labels, measurements).
bool is_allowed_attribute(std::string_view name) {
  if (name.starts_with("user.")) return !name.starts_with("user.overlay.");
  return name == "security.capability" || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

class Unpacker {
 public:
  Unpacker(TarReader& tar, int root, const UnpackOptions& options)
      : tar_(tar), root_(root), options_(options) {}

  Unpacked run() {
    TarEntry entry;
    while (tar_.next(entry)) {
      if (++result_.entries > options_.most_entries)
        throw Error("the layer has more than {} entries", options_.most_entries);
      try {
        add(entry);
      } catch (Error& e) {
        e.prefix("unpacking '{}'", printable(entry.path.substr(0, 200)));
        throw;
      }
    }
    // writing into a directory changes its time: all are set at the end
    for (const Stamp& stamp : stamps_) {
      Fd fd = open_in_root(root_, stamp.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (fd) futimens(fd.get(), stamp.times);
    }
    std::erase_if(result_.implied, [&](const std::string& path) { return !implied_.contains(path); });
    return std::move(result_);
  }

 private:
  void add(const TarEntry& entry) {
    std::vector<std::string> parts = path_parts(entry.path);
    if (parts.empty()) return add_root(entry);
    std::string name = std::move(parts.back());
    parts.pop_back();
    if (options_.whiteouts == Whiteouts::overlay) {
      for (const std::string& part : parts) {
        if (part.starts_with(aufs_prefix)) return;
        if (part.starts_with(whiteout_prefix)) throw Error("there is an entry below a whiteout");
      }
      if (name == opaque_name) return make_opaque(parts);
      if (name.starts_with(aufs_prefix)) return;
      if (name.starts_with(whiteout_prefix)) return add_whiteout(parts, name.substr(whiteout_prefix.size()));
    }
    int parent = parent_of(parts);
    switch (entry.type) {
      case Type::file:
        return add_file(entry, parent, name);
      case Type::directory:
        return add_directory(entry, parent, name, parts);
      case Type::symlink:
        return add_symlink(entry, parent, name);
      case Type::hardlink:
        return add_hardlink(entry, parent, name, parts);
      case Type::character:
      case Type::block:
      case Type::fifo:
        return add_node(entry, parent, name);
      case Type::other:
        throw Error("its type is unknown");
    }
  }

  // --- directories ---

  // Valid until the next call.
  int parent_of(const std::vector<std::string>& parts) {
    if (std::exchange(stale_, false)) cache_.clear();
    std::string path = path_of(parts);
    if (auto found = cache_.find(path); found != cache_.end()) return found->second.get();
    Fd fd = open_in_root(root_, path, O_PATH | O_DIRECTORY);
    if (!fd) fd = walk(root_, parts, [this](auto&&... a) { imply(a...); }).directory;
    if (cache_.size() >= most_cached) cache_.clear();
    return (cache_[path] = std::move(fd)).get();
  }

  // A parent that the archive doesn't list; the layers below may know its owner and mode.
  void imply(int parent, const std::string& name, unsigned found,
             const std::vector<std::string>& parent_parts) {
    bool replaced = found != 0;
    if (replaced) remove(parent, name);
    make_directory(parent, name, 0755);
    if (replaced) mark_opaque(parent, name);
    std::vector<std::string> parts = parent_parts;
    parts.push_back(name);
    std::string path = path_of(parts);
    if (implied_.insert(path).second) result_.implied.push_back(path);
  }

  static void make_directory(int parent, const std::string& name, mode_t mode) {
    check(mkdirat(parent, name.c_str(), mode), "cannot make the directory");
  }

  static Fd open_directory_at(int parent, const std::string& name) {
    return Fd{check(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                    "cannot open the directory")};
  }

  void mark_opaque(int parent, const std::string& name) {
    Fd fd = open_directory_at(parent, name);
    check(fsetxattr(fd.get(), opaque_attribute(options_.ownership), "y", 1, 0),
          "cannot mark the directory opaque");
  }

  // Removes whatever has the name; true when it was no directory.
  bool remove(int parent, const std::string& name) {
    struct stat found;
    check(fstatat(parent, name.c_str(), &found, AT_SYMLINK_NOFOLLOW), "cannot stat what is there");
    if (!S_ISDIR(found.st_mode) && unlinkat(parent, name.c_str(), 0) == 0) {
      stale_ |= S_ISLNK(found.st_mode);
      return true;
    }
    remove_tree(proc_path(parent, name));
    stale_ = true;
    return !S_ISDIR(found.st_mode);
  }

  void add_root(const TarEntry& entry) {
    if (entry.type != Type::directory) throw Error("the root of a layer must be a directory");
    Fd fd = open_directory_at(root_, ".");
    set_metadata(fd.get(), entry);
    stamp("", entry);
  }

  void add_directory(const TarEntry& entry, int parent, const std::string& name,
                     const std::vector<std::string>& parts) {
    bool replaced = false;
    if (mkdirat(parent, name.c_str(), 0700) < 0) {
      if (errno != EEXIST) throw SysError(errno, "cannot make the directory");
      struct stat found;
      check(fstatat(parent, name.c_str(), &found, AT_SYMLINK_NOFOLLOW), "cannot stat what is there");
      if (!S_ISDIR(found.st_mode)) {
        remove(parent, name);
        make_directory(parent, name, 0700);
        replaced = options_.whiteouts == Whiteouts::overlay;
      }
    }
    Fd fd = open_directory_at(parent, name);
    // The name was something else in this layer, a whiteout perhaps: the directory below must not show
    // through.
    if (replaced)
      check(fsetxattr(fd.get(), opaque_attribute(options_.ownership), "y", 1, 0),
            "cannot mark the directory opaque");
    set_metadata(fd.get(), entry);
    std::string path = path_of(parts);
    path += (path.empty() ? "" : "/") + name;
    implied_.erase(path);
    stamp(path, entry);
  }

  void make_opaque(const std::vector<std::string>& parts) {
    if (parts.empty()) {
      result_.opaque_root = true;
      return;
    }
    int parent = parent_of(parts);
    Fd fd = open_directory_at(parent, ".");
    check(fsetxattr(fd.get(), opaque_attribute(options_.ownership), "y", 1, 0),
          "cannot mark the directory opaque");
  }

  // --- other entries ---

  void add_whiteout(const std::vector<std::string>& parts, const std::string& name) {
    if (name.empty() || name == "." || name == "..") throw Error("the whiteout names no file");
    int parent = parent_of(parts);
    if (mknodat(parent, name.c_str(), S_IFCHR, makedev(0, 0)) == 0) return;
    if (errno != EEXIST) throw SysError(errno, "cannot make the whiteout");
    // The name is in this layer too: a whiteout hides only what is below, whatever their order.
    struct stat found;
    check(fstatat(parent, name.c_str(), &found, AT_SYMLINK_NOFOLLOW), "cannot stat what is there");
    if (S_ISDIR(found.st_mode)) mark_opaque(parent, name);
  }

  void add_file(const TarEntry& entry, int parent, const std::string& name) {
    Fd fd;
    for (int tries = 0;; ++tries) {
      fd = Fd{openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
      if (fd) break;
      if (errno != EEXIST || tries > 0) throw SysError(errno, "cannot make the file");
      remove(parent, name);
    }
    uint64_t end = 0;
    tar_.read([&](uint64_t offset, Bytes bytes) {
      result_.bytes += bytes.size();
      if (result_.bytes > options_.most_bytes)
        throw Error("the layer has more than {} bytes", options_.most_bytes);
      if (offset != end) check(lseek(fd.get(), static_cast<off_t>(offset), SEEK_SET), "cannot seek");
      while (!bytes.empty()) {
        ssize_t n = write(fd.get(), bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        check(n, "cannot write");
        bytes = bytes.subspan(static_cast<size_t>(n));
        offset += static_cast<uint64_t>(n);
      }
      end = offset;
    });
    if (end < entry.size) check(ftruncate(fd.get(), static_cast<off_t>(entry.size)), "cannot set the size");
    set_metadata(fd.get(), entry);
    timespec times[2] = {{0, UTIME_OMIT}, {entry.mtime, entry.mtime_nanoseconds}};
    futimens(fd.get(), times);  // a time that the file system can't hold isn't worth failing
  }

  void add_symlink(const TarEntry& entry, int parent, const std::string& name) {
    if (entry.link.empty()) throw Error("the symbolic link has no target");
    while (symlinkat(entry.link.c_str(), parent, name.c_str()) < 0) {
      if (errno != EEXIST) throw SysError(errno, "cannot make the symbolic link");
      remove(parent, name);
    }
    set_owner(parent, name, entry);
  }

  void add_hardlink(const TarEntry& entry, int parent, const std::string& name,
                    const std::vector<std::string>& parts) {
    std::vector<std::string> target = path_parts(entry.link);
    if (target.empty()) throw Error("the hard link '{}' leads to no file", printable(entry.link));
    if (target.size() == parts.size() + 1 && target.back() == name &&
        std::equal(parts.begin(), parts.end(), target.begin()))
      throw Error("the hard link leads to itself");
    std::string target_name = target.back();
    std::vector<std::string> target_parent(target.begin(), target.end() - 1);
    Fd directory = open_in_root(root_, path_of(target_parent), O_PATH | O_DIRECTORY);
    struct stat found {};
    bool there = directory && fstatat(directory.get(), target_name.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISDIR(found.st_mode))
      throw Error("the hard link leads to the directory '{}'", printable(entry.link));
    if (!there || is_whiteout(found)) {
      std::string path = path_of(parts);
      result_.links.push_back({path + (path.empty() ? "" : "/") + name, path_of(target)});
      struct stat old;
      if (fstatat(parent, name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0) remove(parent, name);
      return;
    }
    // flags 0: a symlink is linked itself, never followed
    while (linkat(directory.get(), target_name.c_str(), parent, name.c_str(), 0) < 0) {
      if (errno != EEXIST) throw SysError(errno, "cannot link it to '{}'", printable(entry.link));
      struct stat ours;
      if (fstatat(parent, name.c_str(), &ours, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == found.st_ino &&
          ours.st_dev == found.st_dev)
        return;  // linked already
      remove(parent, name);
    }
  }

  void add_node(const TarEntry& entry, int parent, const std::string& name) {
    mode_t type = entry.type == Type::character ? S_IFCHR : entry.type == Type::block ? S_IFBLK : S_IFIFO;
    bool device = type != S_IFIFO;
    if (type == S_IFCHR && entry.device_major == 0 && entry.device_minor == 0 &&
        options_.whiteouts == Whiteouts::overlay) {
      warn("left out '{}': a character device 0:0 is overlayfs's own mark", printable(entry.path));
      return;
    }
    if (device && options_.ownership == Ownership::keep) return;
    dev_t number = device ? makedev(entry.device_major, entry.device_minor) : 0;
    while (mknodat(parent, name.c_str(), type | 0600, number) < 0) {
      if (errno != EEXIST) throw SysError(errno, "cannot make the device node");
      remove(parent, name);
    }
    set_owner(parent, name, entry);
    Fd fd{check(openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC), "cannot open the node")};
    check(chmod(proc_path(fd.get()).c_str(), entry.mode), "cannot set the mode");
  }

  // --- metadata ---

  void set_owner(int parent, const std::string& name, const TarEntry& entry) {
    if (options_.ownership == Ownership::apply)
      check(fchownat(parent, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW),
            "cannot set the owner");
    timespec times[2] = {{0, UTIME_OMIT}, {entry.mtime, entry.mtime_nanoseconds}};
    utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }

  // In this order: chown clears setuid and capabilities, and an ACL changes the mode.
  void set_metadata(int fd, const TarEntry& entry) {
    if (options_.ownership == Ownership::apply)
      check(fchown(fd, entry.uid, entry.gid), "cannot set the owner");
    for (const auto& [name, value] : entry.xattrs) {
      if (!is_allowed_attribute(name)) {
        debug("'{}': attribute {} left out", printable(entry.path), printable(name));
        continue;
      }
      if (options_.ownership == Ownership::keep && !name.starts_with("user.")) continue;
      if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
      if (errno != ENOTSUP) throw SysError(errno, "cannot set the attribute {}", printable(name));
      if (!std::exchange(warned_, true))
        warn("the file system below the store keeps no extended attributes such as {}", printable(name));
    }
    check(fchmod(fd, entry.mode), "cannot set the mode");
  }

  void stamp(std::string path, const TarEntry& entry) {
    stamps_.push_back({std::move(path), {{0, UTIME_OMIT}, {entry.mtime, entry.mtime_nanoseconds}}});
  }

  static bool is_whiteout(const struct stat& info) {
    return S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0);
  }

  TarReader& tar_;
  int root_;
  const UnpackOptions& options_;
  Unpacked result_;
  std::unordered_map<std::string, Fd> cache_;  // parents by name
  bool stale_ = false;                         // a directory or symlink went: names may lead elsewhere now
  std::unordered_set<std::string> implied_;
  std::vector<Stamp> stamps_;
  bool warned_ = false;
};

}  // namespace

const char* opaque_attribute(Ownership ownership) {
  return ownership == Ownership::apply ? "trusted.overlay.opaque" : "user.overlay.opaque";
}

Unpacked unpack(TarReader& tar, int root, const UnpackOptions& options) {
  return Unpacker(tar, root, options).run();
}

}  // namespace rayctl::oci
