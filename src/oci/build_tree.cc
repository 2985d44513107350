#include "oci/build_tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::oci {

namespace {

std::vector<std::string> layers_with(std::vector<std::string> lowerdirs, const std::string& upper) {
  lowerdirs.push_back(upper);
  return lowerdirs;
}

std::string above(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string below_root(const std::string& path) {
  return path == "/" ? "." : path.substr(1);
}

}  // namespace

void copy_content(int from, int to, const std::string& name) {
  if (ioctl(to, FICLONE, from) == 0) return;
  for (;;) {
    ssize_t n = copy_file_range(from, nullptr, to, nullptr, 64 << 20, 0);
    if (n == 0) return;
    if (n > 0) continue;
    if (errno == EINTR) continue;
    if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
      throw SysError(errno, "cannot copy '{}'", name);
    break;
  }
  copy(read_from(from, name), write_to(to, name), 1 << 20);
}

LayerTree::LayerTree(const std::vector<std::string>& lowerdirs, const std::string& upper, timespec now)
    : upper_path_(upper),
      upper_(open_directory(upper)),
      view_(layers_with(lowerdirs, upper)),
      below_(lowerdirs),
      now_(now) {
  in_upper_.insert("/");
  if (auto root = below_.find("/")) {  // the layer's own root takes after the image's
    check(fchown(upper_.get(), root->info.st_uid, root->info.st_gid), "cannot set the owner of '{}'", upper);
    check(fchmod(upper_.get(), root->info.st_mode & 07777), "cannot set the mode of '{}'", upper);
  }
}

Fd LayerTree::parent_of(const std::string& path, std::string& name) {
  name = path.substr(path.rfind('/') + 1);
  std::string parent = above(path);
  Fd fd = open_in_root(upper_.get(), below_root(parent), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!fd) throw SysError(errno, "cannot open directory '{}'", parent);
  return fd;
}

void LayerTree::apply(int fd, const std::string& path, const Metadata& metadata) {
  check(fchown(fd, metadata.owner.uid, metadata.owner.gid), "cannot set the owner of '{}'", path);
  check(fchmod(fd, metadata.mode & 07777), "cannot set the mode of '{}'",
        path);  // after chown: it drops setuid
  for (const auto& [key, value] : metadata.attributes)
    if (fsetxattr(fd, key.c_str(), value.data(), value.size(), 0) < 0 && errno != ENOTSUP)
      throw SysError(errno, "cannot set the attribute {} of '{}'", key, path);
}

void LayerTree::make(const std::string& path, const Metadata& metadata) {
  std::string name;
  Fd parent = parent_of(path, name);
  check(mkdirat(parent.get(), name.c_str(), 0700), "cannot make directory '{}'", path);
  Fd fd{check(openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
              "cannot open directory '{}'", path)};
  apply(fd.get(), path, metadata);
  times_.emplace_back(path, metadata.mtime);
  in_upper_.insert(path);
  view_.forget(path);
}

void LayerTree::ensure_upper(const std::string& path) {
  if (in_upper_.contains(path)) return;
  auto found = view_.find(path);
  if (!found || !found->is_directory()) throw SysError(ENOTDIR, "cannot use '{}' as a directory", path);
  ensure_upper(above(path));
  Metadata metadata{.mode = found->info.st_mode,
                    .owner = {found->info.st_uid, found->info.st_gid},
                    .mtime = found->info.st_mtim,
                    .attributes = view_.attributes(path)};
  make(path, metadata);
}

void LayerTree::make_directories(const std::string& path, const Owner& owner) {
  if (path == "/" || in_upper_.contains(path)) return;
  if (auto found = view_.find(path)) {
    if (!found->is_directory()) throw Error("cannot make directory '{}': a file is in its place", path);
    return;
  }
  make_directories(above(path), owner);
  ensure_upper(above(path));
  make(path, {.mode = 0755, .owner = owner, .mtime = now_});
}

void LayerTree::ensure_parent(const std::string& path) {
  make_directories(above(path), maker_);
  ensure_upper(above(path));
}

void LayerTree::put_directory(const std::string& path, const Metadata& metadata, Existing existing) {
  if (path == "/") {
    if (existing == Existing::overwrite) apply(upper_.get(), path, metadata);
    return;
  }
  auto found = view_.find(path);
  if (found && found->is_directory()) {
    if (existing == Existing::keep) return;
    ensure_upper(path);
    std::string name;
    Fd parent = parent_of(path, name);
    Fd fd{check(openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                "cannot open directory '{}'", path)};
    apply(fd.get(), path, metadata);
    times_.emplace_back(path, metadata.mtime);
    return;
  }
  ensure_parent(path);
  std::string name;
  if (found) {
    Fd parent = parent_of(path, name);
    if (unlinkat(parent.get(), name.c_str(), 0) < 0 && errno != ENOENT)
      throw SysError(errno, "cannot replace '{}'", path);
  }
  make(path, metadata);
  if (auto lower = below_.find(path);
      lower && lower->is_directory()) {  // hidden a moment ago: it stays hidden
    Fd fd = open_in_root_checked(upper_.get(), below_root(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    check(fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0), "cannot hide what lies below '{}'", path);
    view_.forget(path);
  }
}

// Makes room in the layer, and gives the directory to create the name in.
Fd LayerTree::clear(const std::string& path, std::string& name, InTheWay in_the_way) {
  if (path == "/") throw Error("cannot write '/': it is a directory");
  ensure_parent(path);
  Fd parent = parent_of(path, name);
  auto found = view_.find(path);
  if (!found) {
    if (unlinkat(parent.get(), name.c_str(), 0) < 0 && errno != ENOENT)
      throw SysError(errno, "cannot replace '{}'", path);
    return parent;
  }
  if (!found->is_directory()) {
    if (unlinkat(parent.get(), name.c_str(), 0) < 0 && errno != ENOENT)
      throw SysError(errno, "cannot replace '{}'", path);
    return parent;
  }
  if (in_the_way == InTheWay::refuse) throw Error("cannot write the file '{}': it is a directory", path);
  if (in_upper_.contains(path)) {
    remove_tree(upper_path_ + path);
    std::string prefix = path + "/";
    std::erase_if(in_upper_, [&](const std::string& d) {
      return d == path || d.compare(0, prefix.size(), prefix) == 0;
    });
    std::erase_if(times_, [&](const auto& t) {
      return t.first == path || t.first.compare(0, prefix.size(), prefix) == 0;
    });
  }
  view_.forget(path);
  return parent;
}

void LayerTree::put_file(const std::string& path, const Metadata& metadata,
                         const std::function<void(int fd)>& fill, InTheWay in_the_way) {
  std::string name;
  Fd parent = clear(path, name, in_the_way);
  Fd fd{check(openat(parent.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600),
              "cannot write '{}'", path)};
  fill(fd.get());
  apply(fd.get(), path, metadata);
  timespec times[2] = {metadata.mtime, metadata.mtime};
  check(futimens(fd.get(), times), "cannot set the time of '{}'", path);
}

void LayerTree::put_symlink(const std::string& path, const std::string& target, const Metadata& metadata,
                            InTheWay in_the_way) {
  std::string name;
  Fd parent = clear(path, name, in_the_way);
  check(symlinkat(target.c_str(), parent.get(), name.c_str()), "cannot make the link '{}'", path);
  check(fchownat(parent.get(), name.c_str(), metadata.owner.uid, metadata.owner.gid, AT_SYMLINK_NOFOLLOW),
        "cannot set the owner of '{}'", path);
  timespec times[2] = {metadata.mtime, metadata.mtime};
  check(utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW), "cannot set the time of '{}'",
        path);
}

void LayerTree::put_special(const std::string& path, mode_t type, dev_t device, const Metadata& metadata,
                            InTheWay in_the_way) {
  if (S_ISCHR(type) && device == 0)
    throw Error("cannot make '{}': a character device 0:0 marks a deletion in a layer", path);
  std::string name;
  Fd parent = clear(path, name, in_the_way);
  check(mknodat(parent.get(), name.c_str(), (type & S_IFMT) | 0600, device), "cannot make '{}'", path);
  check(fchownat(parent.get(), name.c_str(), metadata.owner.uid, metadata.owner.gid, AT_SYMLINK_NOFOLLOW),
        "cannot set the owner of '{}'", path);
  check(fchmodat(parent.get(), name.c_str(), metadata.mode & 07777, 0), "cannot set the mode of '{}'", path);
  timespec times[2] = {metadata.mtime, metadata.mtime};
  check(utimensat(parent.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW), "cannot set the time of '{}'",
        path);
}

void LayerTree::put_hardlink(const std::string& path, const std::string& target, InTheWay in_the_way) {
  auto found = view_.find(target);
  if (!found) throw Error("cannot link '{}' to '{}': there is no such file", path, target);
  if (found->is_directory()) throw Error("cannot link '{}' to '{}': it is a directory", path, target);
  if (path == target) return;
  std::string target_name;
  ensure_upper(above(target));
  Fd target_parent = parent_of(target, target_name);
  struct stat own;
  if (fstatat(target_parent.get(), target_name.c_str(), &own, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno != ENOENT) throw SysError(errno, "cannot stat '{}'", target);
    if (!S_ISREG(found->info.st_mode))
      throw Error("cannot link '{}' to '{}': it is no regular file", path, target);
    Fd source = view_.open(target);
    Metadata metadata{.mode = found->info.st_mode,
                      .owner = {found->info.st_uid, found->info.st_gid},
                      .mtime = found->info.st_mtim,
                      .attributes = view_.attributes(target)};
    put_file(target, metadata, [&](int fd) { copy_content(source.get(), fd, target); });
  }
  std::string name;
  Fd parent = clear(path, name, in_the_way);
  check(linkat(target_parent.get(), target_name.c_str(), parent.get(), name.c_str(), 0),
        "cannot link '{}' to '{}'", path, target);
}

void LayerTree::finish() {
  for (const auto& [path, mtime] : times_) {
    Fd fd = open_in_root_checked(upper_.get(), below_root(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    timespec times[2] = {mtime, mtime};
    check(futimens(fd.get(), times), "cannot set the time of '{}'", path);
  }
  times_.clear();
}

}  // namespace rayctl::oci
