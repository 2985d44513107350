#include "oci/diff.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

class Walk {
 public:
  explicit Walk(MergedView& below) : below_(below) {}

  // `hidden`: a directory above is opaque, so nothing of `below` shows here.
  void directory(int fd, const std::string& path, bool hidden) {
    if (++depth_ > 1000) throw Error("cannot pack '/{}': directories nest too deep", path);
    auto lower = below_.find("/" + path);
    bool lower_is_directory = lower && lower->is_directory();
    bool opaque = hidden || is_opaque(fd);
    std::vector<Change> entries = names(fd, path);
    if (lower_is_directory && opaque) hide_the_rest(path, entries);
    std::stable_partition(entries.begin(), entries.end(),
                          [](const Change& c) { return c.kind == Change::Kind::whiteout; });
    for (Change& entry : entries) {
      if (entry.kind == Change::Kind::whiteout) {
        if (lower_is_directory && below_.find("/" + entry.path)) changes_.push_back(std::move(entry));
      } else if (entry.kind == Change::Kind::directory) {
        subdirectory(fd, std::move(entry), opaque);
      } else {
        other(fd, std::move(entry));
      }
    }
    --depth_;
  }

  std::vector<Change> take() { return std::move(changes_); }

 private:
  static std::string last_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  std::vector<Change> names(int fd, const std::string& path) {
    Fd copy{check(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "cannot open '/{}'", path)};
    std::unique_ptr<DIR, decltype([](DIR* d) { closedir(d); })> stream{fdopendir(copy.get())};
    if (!stream) throw SysError(errno, "cannot list '/{}'", path);
    copy.release();
    std::vector<std::string> found;
    for (;;) {
      errno = 0;
      dirent* entry = readdir(stream.get());
      if (!entry && errno) throw SysError(errno, "cannot list '/{}'", path);
      if (!entry) break;
      found.emplace_back(entry->d_name);
    }
    std::sort(found.begin(), found.end());
    std::vector<Change> entries;
    for (const std::string& name : found) {
      if (name == "." || name == "..") continue;
      Change entry{Change::Kind::file, path.empty() ? name : path + "/" + name};
      check(fstatat(fd, name.c_str(), &entry.info, AT_SYMLINK_NOFOLLOW), "cannot stat '/{}'", entry.path);
      if (!classify(entry)) continue;
      if (name.substr(0, 4) == ".wh.")
        throw Error("cannot pack '/{}': names that begin with .wh. mark deletions in a layer",
                    printable(entry.path));
      entries.push_back(std::move(entry));
    }
    return entries;
  }

  static bool classify(Change& entry) {  // false: it has no place in a layer
    mode_t mode = entry.info.st_mode;
    if (is_whiteout(entry.info))
      entry.kind = Change::Kind::whiteout;
    else if (S_ISDIR(mode))
      entry.kind = Change::Kind::directory;
    else if (S_ISLNK(mode))
      entry.kind = Change::Kind::symlink;
    else if (S_ISFIFO(mode))
      entry.kind = Change::Kind::fifo;
    else if (S_ISCHR(mode) || S_ISBLK(mode))
      entry.kind = Change::Kind::device;
    else if (!S_ISREG(mode))
      return false;
    return true;
  }

  void hide_the_rest(const std::string& path, std::vector<Change>& entries) {
    std::vector<std::string> kept;
    for (const Change& entry : entries) kept.push_back(last_of(entry.path));
    std::vector<Change> whiteouts;
    for (const std::string& name : below_.list("/" + path))
      if (!std::binary_search(kept.begin(), kept.end(), name))
        whiteouts.push_back({Change::Kind::whiteout, path.empty() ? name : path + "/" + name});
    entries.insert(entries.end(), std::make_move_iterator(whiteouts.begin()),
                   std::make_move_iterator(whiteouts.end()));
    std::sort(entries.begin(), entries.end(),
              [](const Change& a, const Change& b) { return a.path < b.path; });
  }

  void subdirectory(int parent, Change entry, bool hidden) {
    std::string path = entry.path;
    Fd fd{check(openat(parent, last_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                "cannot open '/{}'", path)};
    char redirect[1];
    if (fgetxattr(fd.get(), "trusted.overlay.redirect", redirect, 0) >= 0)
      throw Error("cannot pack '/{}': overlayfs redirected it; load the module with redirect_dir=off", path);
    entry.attributes = read_attributes(fd.get(), path);
    bool changed = true;
    if (auto lower = below_.find("/" + path); lower && lower->is_directory())
      changed = (lower->info.st_mode & 07777) != (entry.info.st_mode & 07777) ||
                lower->info.st_uid != entry.info.st_uid || lower->info.st_gid != entry.info.st_gid ||
                below_.attributes("/" + path) != entry.attributes;
    size_t place = changes_.size();
    changes_.push_back(std::move(entry));
    directory(fd.get(), path, hidden);
    if (!changed && changes_.size() == place + 1) changes_.pop_back();
  }

  void other(int parent, Change entry) {
    if (entry.kind == Change::Kind::file && entry.info.st_nlink > 1) {
      auto [first, is_new] = links_.try_emplace({entry.info.st_dev, entry.info.st_ino}, entry.path);
      if (!is_new) {
        entry.kind = Change::Kind::hardlink;
        entry.link = first->second;
      }
    }
    if (entry.kind == Change::Kind::symlink) {
      entry.link.resize(4096);
      ssize_t length =
          check(readlinkat(parent, last_of(entry.path).c_str(), entry.link.data(), entry.link.size()),
                "cannot read the link '/{}'", entry.path);
      entry.link.resize(static_cast<size_t>(length));
    } else if (entry.kind == Change::Kind::file) {
      entry.attributes = entry_attributes(parent, last_of(entry.path));
    }
    changes_.push_back(std::move(entry));
  }

  MergedView& below_;
  std::vector<Change> changes_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
  int depth_ = 0;
};

}  // namespace

std::vector<Change> find_changes(int upper, MergedView& below) {
  Walk walk(below);
  walk.directory(upper, "", false);
  return walk.take();
}

}  // namespace rayctl::oci
