#include "oci/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view layout_file = R"({"imageLayoutVersion":"1.0.0"})";
constexpr size_t largest_index = 64 << 20;
constexpr time_t partial_life = 7 * 24 * 3600;

enum class Wait { yes, no };

// flock(2) on a directory needs no lock file that someone could remove. Empty: held by another, and Wait::no.
std::optional<StoreLock> lock_directory(const std::string& path, int operation, Wait wait) {
  Fd fd = open_directory(path);
  while (flock(fd.get(), operation | (wait == Wait::no ? LOCK_NB : 0)) < 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw SysError(errno, "cannot lock '{}'", path);
  }
  return StoreLock{std::move(fd)};
}

bool same_file(int fd, const std::string& path) {
  struct stat ours, there;
  return fstat(fd, &ours) == 0 && lstat(path.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

std::string random_name() {
  uint64_t value = 0;
  check(getrandom(&value, sizeof value, 0), "cannot read random bytes");
  return fmt::format("new-{:016x}", value);
}

bool is_hold_name(std::string_view name) {
  return !name.empty() && name.front() != '.' && name.size() <= 200 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
             std::string_view::npos;
}

}  // namespace

Store::Store(std::string directory) : directory_(std::move(directory)) {
  std::string blobs = join(directory_, "blobs");
  if (!exists(join(directory_, "oci-layout")) || !exists(blobs)) {
    make_directories(directory_);
    make_directories(blobs, 0700);
    replace_file(join(directory_, "oci-layout"), layout_file);
  }
}

StoreLock Store::use() const {
  return std::move(*lock_directory(join(directory_, "blobs"), LOCK_SH, Wait::yes));
}

std::optional<StoreLock> Store::try_clean() const {
  return lock_directory(join(directory_, "blobs"), LOCK_EX, Wait::no);
}

StoreLock Store::lock_index() const {
  return std::move(*lock_directory(directory_, LOCK_EX, Wait::yes));
}

std::string Store::blob_path(const Digest& digest) const {
  return join(directory_, "blobs/" + digest.path());
}

bool Store::has(const Digest& digest) const {
  auto info = status(blob_path(digest));
  return info && S_ISREG(info->st_mode);
}

bool Store::has(const Descriptor& blob) const {
  auto info = status(blob_path(blob.digest));
  return info && S_ISREG(info->st_mode) && static_cast<uint64_t>(info->st_size) == blob.size;
}

Fd Store::open(const Descriptor& blob) const {
  std::string path = blob_path(blob.digest);
  Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!fd && errno == ENOENT) {
    Error error("blob {} is not in '{}'", blob.digest.string(), directory_);
    error.hint("pull the image again");
    throw error;
  }
  check(fd.get(), "cannot open '{}'", path);
  struct stat info;
  check(fstat(fd.get(), &info), "cannot stat '{}'", path);
  if (!S_ISREG(info.st_mode)) throw Error("cannot open '{}': it is not a file", path);
  if (static_cast<uint64_t>(info.st_size) != blob.size)
    throw Error("blob {} has {} bytes instead of {}", blob.digest.string(), info.st_size, blob.size);
  return fd;
}

std::string Store::read(const Descriptor& blob, size_t limit) const {
  Fd fd = open(blob);
  std::string bytes = read_fd(fd.get(), blob_path(blob.digest), limit);
  if (Digest found = Digest::of(as_bytes(bytes), blob.digest.algorithm()); found != blob.digest)
    throw Error("blob {} is damaged: its digest is {}", blob.digest.string(), found.string());
  return bytes;
}

Descriptor Store::put(std::string_view bytes, std::string_view media_type) {
  Descriptor blob{.media_type = std::string(media_type), .digest = Digest::of(bytes), .size = bytes.size()};
  put(blob, bytes);
  return blob;
}

void Store::put(const Descriptor& blob, std::string_view bytes) {
  Digest found = Digest::of(as_bytes(bytes), blob.digest.algorithm());
  if (found != blob.digest || bytes.size() != blob.size)
    throw Error("blob {} of {} bytes is damaged: it has {} bytes and digest {}", blob.digest.string(),
                blob.size, bytes.size(), found.string());
  if (has(blob)) return;
  make_directories(join(directory_, "blobs/" + std::string(blob.digest.algorithm_name())));
  replace_file(blob_path(blob.digest), bytes);
}

std::optional<BlobWriter> Store::write_known(const Descriptor& blob) {
  std::string path =
      join(directory_, fmt::format("partial/{}-{}", blob.digest.algorithm_name(), blob.digest.hex()));
  make_directories(join(directory_, "partial"), 0700);
  for (;;) {
    if (has(blob)) return std::nullopt;
    Fd fd = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno != EWOULDBLOCK) throw SysError(errno, "cannot lock '{}'", path);
      info("waiting for another process that fetches blob {}", blob.digest.short_hex());
      while (flock(fd.get(), LOCK_EX) < 0)
        if (errno != EINTR) throw SysError(errno, "cannot lock '{}'", path);
    }
    if (!same_file(fd.get(), path)) continue;  // finished or given up while we waited
    struct stat info;
    check(fstat(fd.get(), &info), "cannot stat '{}'", path);
    auto kept = static_cast<uint64_t>(info.st_size);
    BlobWriter writer(*this, std::move(fd), path, blob, kept);
    if (kept > blob.size) writer.restart();
    return writer;
  }
}

BlobWriter Store::write_new() {
  make_directories(join(directory_, "partial"), 0700);
  std::string path = join(directory_, "partial/" + random_name());
  Fd fd = open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  check(flock(fd.get(), LOCK_EX | LOCK_NB), "cannot lock '{}'", path);
  return {*this, std::move(fd), path, std::nullopt, 0};
}

std::vector<Tag> Store::read_index() const {
  std::string path = join(directory_, "index.json");
  auto text = read_file_if_exists(path, largest_index);
  std::vector<Tag> tags;
  if (!text) return tags;
  try {
    for (Descriptor& d : parse_index(*text).manifests) {
      auto name = d.annotations.find(std::string(ref_name_annotation));
      std::string found = name == d.annotations.end() ? "" : name->second;
      tags.push_back({std::move(found), std::move(d)});
    }
  } catch (Error& e) {
    e.prefix("reading '{}'", path);
    throw;
  }
  return tags;
}

void Store::write_index(const std::vector<Tag>& tags) {
  Index index;
  for (const Tag& tag : tags) index.manifests.push_back(tag.descriptor);
  replace_file(join(directory_, "index.json"), to_json(index));
}

std::vector<Tag> Store::tags() const {
  return read_index();
}

std::optional<Descriptor> Store::find(std::string_view name) const {
  for (const Tag& tag : read_index())
    if (tag.name == name) return tag.descriptor;
  return std::nullopt;
}

void Store::tag(const std::string& name, const Descriptor& descriptor) {
  StoreLock lock = lock_index();
  std::vector<Tag> all = read_index();
  Tag added{name, descriptor};
  if (!name.empty()) added.descriptor.annotations[std::string(ref_name_annotation)] = name;
  // an entry without a name is there once
  std::erase_if(all, [&](const Tag& t) {
    return name.empty() ? t.name.empty() && t.descriptor.digest == descriptor.digest : t.name == name;
  });
  all.push_back(std::move(added));
  write_index(all);
}

bool Store::untag(const std::string& name) {
  StoreLock lock = lock_index();
  std::vector<Tag> all = read_index();
  if (std::erase_if(all, [&](const Tag& t) { return t.name == name; }) == 0) return false;
  write_index(all);
  return true;
}

Image Store::image(const Descriptor& descriptor, const Platform& machine) const {
  Descriptor at = descriptor;
  for (int depth = 0; depth < 4; ++depth) {
    Document document = parse_document(read(at), at.media_type);
    if (auto* index = std::get_if<Index>(&document)) {
      at = choose(*index, machine);
      continue;
    }
    Image image{.descriptor = at, .manifest = std::get<Manifest>(std::move(document))};
    if (!media::is_config(image.manifest.config.media_type))
      throw Error("{} is not a container image: its config is of type '{}'", at.digest.string(),
                  printable(image.manifest.config.media_type));
    image.config = parse_config(read(image.manifest.config));
    return image;
  }
  throw Error("index {} is nested deeper than 4 levels", descriptor.digest.string());
}

void Store::hold(const std::string& name, const Hold& hold) {
  if (!is_hold_name(name)) throw Error("cannot hold images as '{}': not a plain name", printable(name));
  make_directories(join(directory_, "holds"), 0700);
  std::string text;
  for (const Digest& d : hold.blobs) text += fmt::format("blob {}\n", d.string());
  for (const Digest& d : hold.chains) text += fmt::format("layer {}\n", d.string());
  replace_file(join(directory_, "holds/" + name), text);
}

void Store::release(const std::string& name) {
  if (!is_hold_name(name)) return;
  std::string path = join(directory_, "holds/" + name);
  if (unlink(path.c_str()) < 0 && errno != ENOENT) throw SysError(errno, "cannot remove '{}'", path);
}

std::vector<std::string> Store::hold_names() const {
  std::string directory = join(directory_, "holds");
  if (!exists(directory)) return {};
  std::vector<std::string> names = list_directory(directory);
  std::erase_if(names, [](const std::string& name) {
    return !is_hold_name(name) || name.find(".tmp-") != std::string::npos;
  });
  return names;
}

std::vector<Hold> Store::holds() const {
  std::vector<Hold> found;
  std::string directory = join(directory_, "holds");
  for (const std::string& name : hold_names()) {
    auto text = read_file_if_exists(join(directory, name));
    if (!text) continue;
    Hold hold;
    for (const std::string& line : split(*text, '\n')) {
      if (line.starts_with("blob ")) hold.blobs.push_back(Digest::parse(line.substr(5)));
      if (line.starts_with("layer ")) hold.chains.push_back(Digest::parse(line.substr(6)));
    }
    found.push_back(std::move(hold));
  }
  return found;
}

std::vector<Digest> Store::blobs() const {
  std::vector<Digest> found;
  for (std::string_view algorithm : {"sha256", "sha512"}) {
    std::string directory = join(directory_, fmt::format("blobs/{}", algorithm));
    if (!exists(directory)) continue;
    for (const std::string& name : list_directory(directory))
      if (std::string text = fmt::format("{}:{}", algorithm, name); Digest::is_digest(text))
        found.push_back(Digest::parse(text));
  }
  return found;
}

void Store::remove_blob(const Digest& digest) {
  std::string path = blob_path(digest);
  if (unlink(path.c_str()) < 0 && errno != ENOENT) throw SysError(errno, "cannot remove '{}'", path);
}

void Store::remove_old_partials() {
  std::string directory = join(directory_, "partial");
  if (!exists(directory)) return;
  time_t now = time(nullptr);
  for (const std::string& name : list_directory(directory)) {
    std::string path = join(directory, name);
    Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    struct stat info;
    if (!fd || fstat(fd.get(), &info) < 0) continue;
    bool resumable = !name.starts_with("new-");
    if (resumable && now - info.st_mtime < partial_life) continue;
    if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0) continue;
    if (same_file(fd.get(), path)) unlink(path.c_str());
  }
}

}  // namespace rayctl::oci
