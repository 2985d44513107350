#include "oci/build_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <deque>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr size_t most_cached_descriptors = 256;
constexpr size_t largest_attribute = 64 << 10;

bool is_kept(std::string_view name) {
  if (name.substr(0, 13) == "user.overlay.") return false;
  return name == "security.capability" || name.substr(0, 5) == "user." || name == "system.posix_acl_access" ||
         name == "system.posix_acl_default";
}

template <class List, class Get>
Attributes collect(const List& list, const Get& get, std::string_view name) {
  std::string names(4096, '\0');
  ssize_t length;
  while ((length = list(names.data(), names.size())) < 0 && errno == ERANGE && names.size() < (1u << 20))
    names.resize(names.size() * 4);
  Attributes attributes;
  if (length < 0) {
    if (errno == ENOTSUP || errno == ENODATA) return attributes;
    throw SysError(errno, "cannot list the attributes of '{}'", name);
  }
  names.resize(static_cast<size_t>(length));
  for (const std::string& attribute : split(names, '\0')) {
    if (!is_kept(attribute)) continue;
    std::string value(largest_attribute, '\0');
    ssize_t size = get(attribute.c_str(), value.data(), value.size());
    if (size < 0 && errno == ENODATA) continue;
    check(size, "cannot read the attribute {} of '{}'", attribute, name);
    value.resize(static_cast<size_t>(size));
    attributes.emplace(attribute, std::move(value));
  }
  return attributes;
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  for (std::string& part : split(path, '/'))
    if (!part.empty() && part != ".") parts.push_back(std::move(part));
  return parts;
}

}  // namespace

Attributes read_attributes(int fd, std::string_view name) {
  return collect([&](char* out, size_t size) { return flistxattr(fd, out, size); },
                 [&](const char* key, char* out, size_t size) { return fgetxattr(fd, key, out, size); },
                 name);
}

Attributes entry_attributes(int directory, const std::string& entry) {
  // there is no fgetxattr on O_PATH descriptors: by way of the directory's name in /proc
  std::string path = fmt::format("/proc/self/fd/{}/{}", directory, entry);
  return collect(
      [&](char* out, size_t size) { return llistxattr(path.c_str(), out, size); },
      [&](const char* key, char* out, size_t size) { return lgetxattr(path.c_str(), key, out, size); },
      entry);
}

bool is_whiteout(const struct stat& info) {
  return S_ISCHR(info.st_mode) && info.st_rdev == makedev(0, 0);
}

bool is_opaque(int directory, Ownership ownership) {
  char value = 0;
  return fgetxattr(directory, opaque_attribute(ownership), &value, 1) == 1 && value == 'y';
}

MergedView::MergedView(const std::vector<std::string>& lowerdirs, Ownership ownership)
    : ownership_(ownership), root_(std::make_shared<Directory>()) {
  for (auto lower = lowerdirs.rbegin(); lower != lowerdirs.rend(); ++lower) {
    root_->parts.push_back(open_directory(*lower));
    if (is_opaque(root_->parts.back().get(), ownership)) break;
  }
}

std::shared_ptr<MergedView::Directory> MergedView::child(const Directory& parent, const std::string& name) {
  auto result = std::make_shared<Directory>();
  for (const Fd& part : parent.parts) {
    struct stat info;
    if (fstatat(part.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) continue;
      throw SysError(errno, "cannot stat '{}'", name);
    }
    if (!S_ISDIR(info.st_mode)) break;
    Fd fd{check(openat(part.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                "cannot open directory '{}'", name)};
    bool opaque = is_opaque(fd.get(), ownership_);
    result->parts.push_back(std::move(fd));
    if (opaque) break;
  }
  return result->parts.empty() ? nullptr : result;
}

void MergedView::remember(const std::string& path, std::shared_ptr<Directory> directory) {
  open_ += directory->parts.size();
  order_.push_back(path);
  cache_[path] = std::move(directory);
  while (open_ > most_cached_descriptors && order_.size() > 1) {
    auto oldest = cache_.find(order_.front());
    open_ -= oldest->second->parts.size();
    cache_.erase(oldest);
    order_.erase(order_.begin());
  }
}

void MergedView::forget(const std::string& path) {
  std::string prefix = path + "/";
  std::erase_if(order_, [&](const std::string& known) {
    if (known != path && known.compare(0, prefix.size(), prefix) != 0) return false;
    auto found = cache_.find(known);
    open_ -= found->second->parts.size();
    cache_.erase(found);
    return true;
  });
}

std::shared_ptr<MergedView::Directory> MergedView::directory(const std::string& path) {
  if (path.empty() || path == "/") return root_;
  if (auto found = cache_.find(path); found != cache_.end()) return found->second;
  size_t slash = path.rfind('/');
  auto parent = directory(path.substr(0, slash));
  if (!parent) return nullptr;
  auto result = child(*parent, path.substr(slash + 1));
  if (result) remember(path, result);
  return result;
}

std::optional<MergedView::Located> MergedView::locate(const std::string& path) {
  size_t slash = path.rfind('/');
  Located located;
  if (path.empty() || path == "/") {
    if (root_->parts.empty()) return std::nullopt;
    located.parent = root_;
    located.part = root_->parts[0].get();
    located.name = ".";
    check(fstat(located.part, &located.entry.info), "cannot stat '/'");
    return located;
  }
  located.parent = directory(path.substr(0, slash));
  if (!located.parent) return std::nullopt;
  located.name = path.substr(slash + 1);
  for (const Fd& part : located.parent->parts) {
    if (fstatat(part.get(), located.name.c_str(), &located.entry.info, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) continue;
      throw SysError(errno, "cannot stat '{}'", path);
    }
    if (is_whiteout(located.entry.info)) return std::nullopt;
    located.part = part.get();
    return located;
  }
  return std::nullopt;
}

std::optional<MergedView::Entry> MergedView::find(const std::string& path) {
  auto located = locate(path);
  if (!located) return std::nullopt;
  return located->entry;
}

std::vector<std::string> MergedView::list(const std::string& path) {
  auto found = directory(path);
  if (!found) throw SysError(ENOENT, "cannot list '{}'", path);
  std::set<std::string> shown, hidden;
  for (const Fd& part : found->parts) {
    Fd copy{check(openat(part.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "cannot open '{}'", path)};
    std::unique_ptr<DIR, decltype([](DIR* d) { closedir(d); })> stream{fdopendir(copy.get())};
    if (!stream) throw SysError(errno, "cannot list '{}'", path);
    copy.release();
    for (;;) {
      errno = 0;
      dirent* entry = readdir(stream.get());
      if (!entry && errno) throw SysError(errno, "cannot list '{}'", path);
      if (!entry) break;
      std::string name = entry->d_name;
      if (name == "." || name == ".." || shown.contains(name) || hidden.contains(name)) continue;
      bool hides = false;
      if (entry->d_type == DT_CHR || entry->d_type == DT_UNKNOWN) {
        struct stat info;
        check(fstatat(part.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW), "cannot stat '{}'", name);
        hides = is_whiteout(info);
      }
      (hides ? hidden : shown).insert(std::move(name));
    }
  }
  return {shown.begin(), shown.end()};
}

Fd MergedView::open(const std::string& path) {
  auto located = locate(path);
  if (!located) throw SysError(ENOENT, "cannot open '{}'", path);
  if (!S_ISREG(located->entry.info.st_mode) && !S_ISDIR(located->entry.info.st_mode))
    throw Error("cannot open '{}': it is neither a file nor a directory", path);
  return Fd{check(openat(located->part, located->name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC),
                  "cannot open '{}'", path)};
}

std::string MergedView::read_link(const std::string& path) {
  auto located = locate(path);
  if (!located) throw SysError(ENOENT, "cannot read the link '{}'", path);
  std::string target(4096, '\0');
  ssize_t length = check(readlinkat(located->part, located->name.c_str(), target.data(), target.size()),
                         "cannot read the link '{}'", path);
  target.resize(static_cast<size_t>(length));
  return target;
}

Attributes MergedView::attributes(const std::string& path) {
  auto located = locate(path);
  if (!located) return {};
  return entry_attributes(located->part, located->name);
}

std::string MergedView::resolve(const std::string& path, Last last, Leaving leaving) {
  std::deque<std::string> pending;
  for (std::string& part : parts_of(path)) pending.push_back(std::move(part));
  std::string done, last_link;
  auto leaves = [&] {
    return Error("the link '{}' -> '{}' leads out of it", printable(last_link),
                 printable(read_link(last_link)));
  };
  for (int links = 0; !pending.empty();) {
    std::string part = std::move(pending.front());
    pending.pop_front();
    if (part == "..") {
      if (done.empty() && leaving == Leaving::refuse && !last_link.empty()) throw leaves();
      done.resize(done.empty() ? 0 : done.rfind('/'));
      continue;
    }
    std::string here = done + "/" + part;
    auto entry = find(here);
    if (!entry || !entry->is_symlink() || (pending.empty() && last == Last::keep)) {
      done = std::move(here);
      continue;
    }
    if (++links > 40) throw SysError(ELOOP, "cannot resolve '{}'", path);
    std::string target = read_link(here);
    last_link = here;
    if (!target.empty() && target.front() == '/' && leaving == Leaving::refuse) throw leaves();
    if (!target.empty() && target.front() == '/') done.clear();
    std::vector<std::string> parts = parts_of(target);
    pending.insert(pending.begin(), parts.begin(), parts.end());
  }
  return done.empty() ? "/" : done;
}

std::optional<std::string> MergedView::read_file(const std::string& path, size_t limit) {
  std::string real = resolve(path, Last::follow);
  auto entry = find(real);
  if (!entry || !S_ISREG(entry->info.st_mode)) return std::nullopt;
  return read_fd(open(real).get(), path, limit);
}

}  // namespace rayctl::oci
