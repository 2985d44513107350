#include "oci/layer_merge.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/io.h"
#include "base/text.h"
#include "oci/tree_path.h"

namespace rayctl::oci {

namespace {

// Copies attributes from an open file or directory, overlayfs's marks excepted.
void copy_attributes(int from, int to) {
  std::string names(64 << 10, '\0');
  ssize_t n = flistxattr(from, names.data(), names.size());
  if (n < 0 && errno == ENOTSUP) return;
  names.resize(static_cast<size_t>(check(n, "cannot list attributes")));
  for (const std::string& name : split(names, '\0')) {
    if (name.empty() || name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) continue;
    std::string value(64 << 10, '\0');
    ssize_t size = fgetxattr(from, name.c_str(), value.data(), value.size());
    if (size >= 0) fsetxattr(to, name.c_str(), value.data(), static_cast<size_t>(size), 0);
  }
}

void copy_metadata(int from, int to, const struct stat& info, Ownership ownership) {
  if (ownership == Ownership::apply) check(fchown(to, info.st_uid, info.st_gid), "cannot set the owner");
  copy_attributes(from, to);
  check(fchmod(to, info.st_mode & 07777), "cannot set the mode");
  timespec times[2] = {{0, UTIME_OMIT}, info.st_mtim};
  futimens(to, times);
}

class Finisher {
 public:
  Finisher(const Unpacked& unpacked, int root, MergedView& below, Ownership ownership)
      : unpacked_(unpacked), root_(root), below_(below), ownership_(ownership) {}

  void run() {
    for (const std::string& path : unpacked_.implied) {
      try {
        complete_directory(path_parts(path));
      } catch (Error& e) {
        e.prefix("completing directory '{}'", printable(path));
        throw;
      }
    }
    for (const LowerLink& link : unpacked_.links) {
      try {
        complete_link(link);
      } catch (Error& e) {
        e.prefix("unpacking '{}'", printable(link.path));
        throw;
      }
    }
  }

 private:
  static std::string full(const std::vector<std::string>& parts) { return "/" + path_of(parts); }
  std::optional<MergedView::Located> locate(const std::vector<std::string>& parts) {
    return parts.empty() ? std::nullopt : below_.locate(full(parts));
  }
  std::vector<std::string> resolve(const std::vector<std::string>& parts) {
    return path_parts(below_.resolve(full(parts), MergedView::Last::follow));
  }
  Fd open_own(const std::vector<std::string>& parts) {
    return open_in_root(root_, path_of(parts), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }

  // The directory of ours gets the metadata of the one below, or goes where the symlink below leads.
  void complete_directory(const std::vector<std::string>& parts) {
    Fd own = open_own(parts);
    if (!own) return;  // it moved with a parent, or the layer replaced it later
    auto found = locate(parts);
    if (!found) return;
    if (found->entry.is_directory()) {
      Fd lower{
          check(openat(found->part, found->name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                "cannot open the directory below")};
      copy_metadata(lower.get(), own.get(), found->entry.info, ownership_);
    } else if (found->entry.is_symlink() && !is_opaque(own.get(), ownership_)) {
      std::vector<std::string> target = resolve(parts);
      if (target == parts) return;
      std::vector<std::string> parent(parts.begin(), parts.end() - 1);
      Fd from = open_own(parent);
      TreePlace to = make_place(target);
      merge(from.get(), parts.back(), to.directory.get());
    }
  }

  // Our own directories down to `parts`, each like the one below it.
  TreePlace make_place(const std::vector<std::string>& parts) {
    return walk(
        root_, parts,
        [this](int parent, const std::string& name, unsigned found,
               const std::vector<std::string>& parent_parts) {
          if (found)
            throw Error("cannot use '{}' as a directory: the layer has another file there", printable(name));
          check(mkdirat(parent, name.c_str(), 0755), "cannot make the directory '{}'", printable(name));
          std::vector<std::string> all = parent_parts;
          all.push_back(name);
          complete_directory(all);
        });
  }

  // Moves the content of parent/name into `to` and removes it.
  void merge(int parent, const std::string& name, int to) {
    for (const std::string& child : list_directory(proc_path(parent, name))) {
      Fd from{check(openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                    "cannot open '{}'", printable(name))};
      if (renameat2(from.get(), child.c_str(), to, child.c_str(), RENAME_NOREPLACE) == 0) continue;
      if (errno != EEXIST) throw SysError(errno, "cannot move '{}'", printable(child));
      Fd target{openat(to, child.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
      struct stat ours;
      check(fstatat(from.get(), child.c_str(), &ours, AT_SYMLINK_NOFOLLOW), "cannot stat '{}'",
            printable(child));
      if (target && S_ISDIR(ours.st_mode)) {
        merge(from.get(), child, target.get());
      } else {
        throw Error("the layer has '{}' twice, by two names of its directory", printable(child));
      }
    }
    check(unlinkat(parent, name.c_str(), AT_REMOVEDIR), "cannot remove '{}'", printable(name));
  }

  // As overlayfs would: the file of the layer below is copied up, then linked.
  void complete_link(const LowerLink& link) {
    std::vector<std::string> target = path_parts(link.target), path = path_parts(link.path);
    std::vector<std::string> target_parent(target.begin(), target.end() - 1),
        parent(path.begin(), path.end() - 1);
    std::vector<std::string> resolved = resolve(target_parent);
    resolved.push_back(target.back());
    auto found = locate(resolved);
    TreePlace to = make_place(parent);
    struct stat own {};
    Fd own_parent = open_in_root(root_, path_of(target_parent), O_PATH | O_DIRECTORY);
    if (!own_parent) {
      std::vector<std::string> real(resolved.begin(), resolved.end() - 1);
      own_parent = open_in_root(root_, path_of(real), O_PATH | O_DIRECTORY);
    }
    bool copied = own_parent &&
                  fstatat(own_parent.get(), target.back().c_str(), &own, AT_SYMLINK_NOFOLLOW) == 0 &&
                  !is_whiteout(own) && !S_ISDIR(own.st_mode);
    if (!copied && own_parent && own.st_mode && is_whiteout(own)) found.reset();
    if (!copied && (!found || found->entry.is_directory()))
      throw Error("the hard link '{}' leads to no file of this layer or one below", printable(link.target));
    TreePlace source;
    if (copied) {
      source.directory = std::move(own_parent);
    } else {
      source = make_place(std::vector<std::string>(resolved.begin(), resolved.end() - 1));
      copy_up(*found, full(resolved), source.directory.get());
    }
    check(linkat(source.directory.get(), target.back().c_str(), to.directory.get(), path.back().c_str(), 0),
          "cannot link it to '{}'", printable(link.target));
  }

  // `path`: of `found`, below.
  void copy_up(const MergedView::Located& found, const std::string& path, int parent) {
    const std::string& name = found.name;
    const struct stat& info = found.entry.info;
    if (S_ISLNK(info.st_mode)) {
      std::string target = below_.read_link(path);
      check(symlinkat(target.c_str(), parent, name.c_str()), "cannot make the symbolic link");
      if (ownership_ == Ownership::apply)
        check(fchownat(parent, name.c_str(), info.st_uid, info.st_gid, AT_SYMLINK_NOFOLLOW),
              "cannot set the owner");
      return;
    }
    if (!S_ISREG(info.st_mode)) throw Error("the hard link leads to a special file of a layer below");
    Fd from{check(openat(found.part, found.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC),
                  "cannot open '{}'", printable(name))};
    Fd to{check(openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600),
                "cannot make '{}'", printable(name))};
    copy(read_from(from.get(), name), write_to(to.get(), name));
    copy_metadata(from.get(), to.get(), info, ownership_);
  }

  const Unpacked& unpacked_;
  int root_;
  MergedView& below_;
  Ownership ownership_;
};

}  // namespace

void finish_layer(const Unpacked& unpacked, int root, MergedView& below, Ownership ownership) {
  Finisher(unpacked, root, below, ownership).run();
}

}  // namespace rayctl::oci
