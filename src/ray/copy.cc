#include "ray/copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::ray {

namespace {

using Reader = std::unique_ptr<archive, decltype([](archive* a) { archive_read_free(a); })>;
using Writer = std::unique_ptr<archive, decltype([](archive* a) { archive_write_free(a); })>;
using Entry = std::unique_ptr<archive_entry, decltype([](archive_entry* e) { archive_entry_free(e); })>;

void must(archive* a, int code, std::string_view what) {
  if (code < ARCHIVE_WARN)
    throw Error("cannot {}: {}", what, archive_error_string(a) ? archive_error_string(a) : "unknown");
}

std::string last_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

CopyKind kind_of(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return CopyKind::missing;
    throw SysError(errno, "cannot stat '{}'", path);
  }
  return S_ISDIR(info.st_mode) ? CopyKind::directory : CopyKind::file;
}

std::string parent_of(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

class Sender {
 public:
  explicit Sender(int out_fd) : writer_(archive_write_new()) {
    archive_write_set_format_pax_restricted(writer_.get());
    archive_write_set_options(writer_.get(),
                              "hdrcharset=BINARY");  // names are bytes: no locale in a static binary
    archive_write_set_bytes_per_block(writer_.get(), 64 << 10);
    archive_write_set_bytes_in_last_block(writer_.get(), 1);
    must(writer_.get(), archive_write_open_fd(writer_.get(), out_fd), "write the stream");
  }

  // `directory` is an open directory, `name` within it, `as` the entry's path in the stream.
  void send(int directory, const std::string& name, const std::string& as, int stat_flags) {
    struct stat info;
    check(fstatat(directory, name.c_str(), &info, stat_flags), "cannot stat '{}'", as);
    if (S_ISSOCK(info.st_mode)) return;  // no archive holds a socket
    Entry entry{archive_entry_new()};
    archive_entry_copy_stat(entry.get(), &info);
    archive_entry_set_pathname(entry.get(), as.c_str());
    if (S_ISLNK(info.st_mode))
      archive_entry_set_symlink(entry.get(), link_target(directory, name, as).c_str());
    Fd file;
    if (S_ISREG(info.st_mode)) {
      auto [it, fresh] = info.st_nlink > 1 ? links_.try_emplace({info.st_dev, info.st_ino}, as)
                                           : std::pair{links_.end(), true};
      if (!fresh) {
        archive_entry_set_size(entry.get(), 0);
        archive_entry_set_hardlink(entry.get(), it->second.c_str());
      } else {
        int follow = stat_flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0;
        file = Fd{check(openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | follow),
                        "cannot open '{}'", as)};
      }
    }
    must(writer_.get(), archive_write_header(writer_.get(), entry.get()), "write the stream");
    if (file) send_content(file.get(), as, static_cast<uint64_t>(info.st_size));
    if (S_ISDIR(info.st_mode)) send_directory(directory, name, as);
  }

  void finish() { must(writer_.get(), archive_write_close(writer_.get()), "write the stream"); }

 private:
  static std::string link_target(int directory, const std::string& name, const std::string& as) {
    std::string target(4096, '\0');
    ssize_t n = readlinkat(directory, name.c_str(), target.data(), target.size());
    check(n, "cannot read link '{}'", as);
    target.resize(static_cast<size_t>(n));
    return target;
  }

  // A file that grows or shrinks meanwhile is sent at the size it had: cut, or filled with zeros by
  // libarchive.
  void send_content(int fd, const std::string& as, uint64_t size) {
    std::vector<char> buffer(256 << 10);
    while (size > 0) {
      ssize_t n = read(fd, buffer.data(), static_cast<size_t>(std::min<uint64_t>(buffer.size(), size)));
      if (n < 0 && errno == EINTR) continue;
      check(n, "cannot read '{}'", as);
      if (n == 0) return;
      if (archive_write_data(writer_.get(), buffer.data(), static_cast<size_t>(n)) < 0)
        must(writer_.get(), ARCHIVE_FATAL, "write the stream");
      size -= static_cast<uint64_t>(n);
    }
  }

  void send_directory(int directory, const std::string& name, const std::string& as) {
    Fd fd{check(openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "cannot open '{}'", as)};
    for (const std::string& child : list_directory(fmt::format("/proc/self/fd/{}", fd.get())))
      send(fd.get(), child, as == "." ? "./" + child : as + "/" + child, AT_SYMLINK_NOFOLLOW);
  }

  Writer writer_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

// "a/b" with `from` "a" and `to` "x" -> "x/b".
std::string renamed(std::string_view path, const CopyPlan& plan) {
  while (path.starts_with("./") && plan.from != ".") path.remove_prefix(2);
  if (plan.from == plan.to) return std::string(path);
  if (path == plan.from) return plan.to;
  if (path.size() > plan.from.size() && path.starts_with(plan.from) && path[plan.from.size()] == '/')
    return plan.to + std::string(path.substr(plan.from.size()));
  throw Error("cannot take the stream: entry '{}' is outside of '{}'", path, plan.from);
}

std::string first_component(std::string_view path) {
  while (path.starts_with("./") && path.size() > 2) {
    if (path == "./") break;
    return ".";
  }
  return std::string(path.substr(0, path.find('/')));
}

}  // namespace

void copy_send(const std::string& path, CopyLink link, int out_fd) {
  bool content_only = path == "." || path.ends_with("/.") || path.ends_with("/./");
  std::string name = content_only ? "." : last_name(path);
  if (name.empty() || name == "/" || name == "..") name = ".";
  bool through = content_only || path.ends_with('/') || link == CopyLink::follow;
  Sender sender(out_fd);
  sender.send(AT_FDCWD, path, name, through ? 0 : AT_SYMLINK_NOFOLLOW);
  sender.finish();
}

CopyPlan plan_copy(std::string_view top, CopyKind source, const std::string& dest, CopyKind dest_kind,
                   CopyKind parent_kind) {
  std::string from(top);
  if (dest_kind == CopyKind::directory) return {dest, from, from};
  if (dest_kind == CopyKind::file) {
    if (source == CopyKind::directory) throw Error("cannot copy a directory onto '{}': it is a file", dest);
    if (dest.ends_with('/')) throw Error("cannot copy to '{}': it is not a directory", dest);
  } else {
    if (parent_kind != CopyKind::directory)
      throw Error("cannot copy to '{}': its directory doesn't exist", dest);
    if (dest.ends_with('/') && source == CopyKind::file)
      throw Error("cannot copy to '{}': no such directory", dest);
  }
  return {parent_of(dest), from, last_name(dest)};
}

void copy_receive(const std::string& dest, CopyOwner owner, int in_fd) {
  Reader reader{archive_read_new()};
  archive_read_support_format_tar(reader.get());
  archive_read_set_options(reader.get(), "hdrcharset=BINARY");
  must(reader.get(), archive_read_open_fd(reader.get(), in_fd, 256 << 10), "read the stream");
  Writer disk{archive_write_disk_new()};
  int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_UNLINK |
              ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
              ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;
  if (owner == CopyOwner::archive) flags |= ARCHIVE_EXTRACT_OWNER;
  archive_write_disk_set_options(disk.get(), flags);
  std::optional<CopyPlan> plan;
  archive_entry* entry = nullptr;
  for (;;) {
    int code = archive_read_next_header(reader.get(), &entry);
    if (code == ARCHIVE_EOF) break;
    must(reader.get(), code, "read the stream");
    std::string path = archive_entry_pathname(entry) ? archive_entry_pathname(entry) : "";
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    if (!plan) {
      CopyKind source = archive_entry_filetype(entry) == AE_IFDIR ? CopyKind::directory : CopyKind::file;
      plan = plan_copy(first_component(path), source, dest, kind_of(dest), kind_of(parent_of(dest)));
      check(chdir(plan->directory.c_str()), "cannot change to '{}'",
            plan->directory);  // the safe paths are relative
    }
    archive_entry_set_pathname(entry, renamed(path, *plan).c_str());
    if (const char* link = archive_entry_hardlink(entry))
      archive_entry_set_hardlink(entry, renamed(link, *plan).c_str());
    must(disk.get(), archive_write_header(disk.get(), entry), fmt::format("write '{}'", path));
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    while ((code = archive_read_data_block(reader.get(), &data, &size, &offset)) != ARCHIVE_EOF) {
      must(reader.get(), code, "read the stream");
      must(disk.get(), static_cast<int>(archive_write_data_block(disk.get(), data, size, offset)),
           fmt::format("write '{}'", path));
    }
    must(disk.get(), archive_write_finish_entry(disk.get()), fmt::format("write '{}'", path));
  }
  if (!plan) throw Error("cannot take the stream: it is empty");
  must(disk.get(), archive_write_close(disk.get()), "finish the copy");
}

int copy_main(int argc, char** argv) {
  try {
    std::vector<std::string> words(argv, argv + argc);
    bool option = words.size() == 3 && (words[1] == "--follow" || words[1] == "--archive");
    if (words.size() != 2 && !option) throw UsageError("{}: a path is missing", words[0]);
    if (words[0] == "copy-send")
      copy_send(words.back(), option ? CopyLink::follow : CopyLink::keep, STDOUT_FILENO);
    else
      copy_receive(words.back(), option ? CopyOwner::archive : CopyOwner::receiver, STDIN_FILENO);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}

}  // namespace rayctl::ray
