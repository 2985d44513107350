#include "oci/build_copy.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/decompress.h"
#include "oci/tar_reader.h"

namespace rayctl::oci {

namespace {

constexpr size_t largest_user_file = 4 << 20;

std::string parent_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string below(const std::string& directory, const std::string& relative) {
  if (relative.empty()) return directory;
  return directory == "/" ? "/" + relative : directory + "/" + relative;
}

Owner owner_in_image(MergedView& view, const std::string& text) {
  return parse_owner(text, view.read_file("/etc/passwd", largest_user_file).value_or(""),
                     view.read_file("/etc/group", largest_user_file).value_or(""));
}

bool begins(Bytes bytes, std::string_view magic) {
  return as_text(bytes).substr(0, magic.size()) == magic;
}

// Whether the file is a tar archive that can be read, whatever its name; refuses compressions that can't.
bool is_archive(int fd, const std::string& name) {
  std::string first(8, '\0');
  ssize_t n = check(pread(fd, first.data(), first.size(), 0), "cannot read '{}'", name);
  Bytes head = as_bytes(std::string_view(first).substr(0, static_cast<size_t>(n)));
  const char* foreign = begins(head, std::string_view("\xFD"
                                                      "7zXZ\0",
                                                      6))
                            ? "xz"
                        : begins(head, "BZh") ? "bzip2"
                                              : nullptr;
  if (foreign) {
    Error error("cannot extract '{}': it is compressed with {}; gzip, zstd and plain tar are read", name,
                foreign);
    error.hint("use COPY, or ADD --unpack=false, to add it as a file");
    throw error;
  }
  check(lseek(fd, 0, SEEK_SET), "cannot read '{}'", name);
  bool archive = false;
  try {
    TarReader tar(decompress(read_from(fd, name)));
    TarEntry entry;
    archive = tar.next(entry);
  } catch (const Error&) {  // some other file: it is copied
  }
  check(lseek(fd, 0, SEEK_SET), "cannot read '{}'", name);
  return archive;
}

class Copier {
 public:
  Copier(const CopyAction& action, CopyOrigin& origin, LayerTree& layer, const CopyOptions& options)
      : action_(action), origin_(origin), layer_(layer), options_(options) {
    if (!action.chown.empty()) chown_ = owner_in_image(layer.view(), action.chown);
    if (!action.chmod.empty()) chmod_.emplace(action.chmod);
  }

  void run(const std::vector<CopyPart>& parts) {
    bool wants_directory = action_.destination.back() == '/';
    std::string written = wants_directory && action_.destination.size() > 1
                              ? action_.destination.substr(0, action_.destination.size() - 1)
                              : action_.destination;
    std::string destination = layer_.resolve(written);
    for (const CopyPart& part : parts) {
      auto existing = layer_.view().find(destination);
      bool into = wants_directory || action_.parents || (existing && existing->is_directory());
      if (existing && !existing->is_directory() && (into || part.is_directory()))
        throw Error("cannot copy to '{}': it is a file, not a directory", printable(action_.destination));
      if (part.is_directory()) {
        directory(part, action_.parents ? layer_.resolve(below(destination, part.name)) : destination);
      } else {
        single(part, into ? destination : parent_of(destination),
               into ? part.name : destination.substr(destination.rfind('/') + 1));
      }
    }
    layer_.finish();
  }

 private:
  Metadata metadata(const CopyEntry& entry) const {
    bool directory = S_ISDIR(entry.info.st_mode);
    Metadata result{.mode = entry.info.st_mode & 07777, .mtime = entry.info.st_mtim};
    if (origin_.kind == CopyOrigin::Kind::root) {
      result.owner = {entry.info.st_uid, entry.info.st_gid};
      result.attributes = origin_.tree.attributes(entry.source);
    }
    if (chown_) result.owner = *chown_;
    if (chmod_)
      result.mode =
          chmod_->apply(result.mode, directory ? ModeChange::Target::directory : ModeChange::Target::file);
    return result;
  }

  void directory(const CopyPart& part, const std::string& destination) {
    std::map<std::string, std::string>
        placed;  // relative directory -> where it went, past the image's own symlinks
    for (const CopyEntry& entry : part.entries) {
      if (options_.poll) options_.poll();
      if (entry.relative.empty()) {
        layer_.make_directories(parent_of(destination), chown_.value_or(Owner{}));
        layer_.put_directory(destination, metadata(entry), LayerTree::Existing::keep);
        placed[""] = destination;
        continue;
      }
      size_t slash = entry.relative.rfind('/');
      std::string& parent = placed.at(slash == std::string::npos ? "" : entry.relative.substr(0, slash));
      std::string target = below(parent, entry.relative.substr(slash == std::string::npos ? 0 : slash + 1));
      if (!S_ISDIR(entry.info.st_mode)) {
        put(entry, target);
        continue;
      }
      std::string real = layer_.resolve(target);
      auto existing = layer_.view().find(real);
      if (existing && !existing->is_directory())
        throw Error("cannot copy the directory '{}' to '{}': a file is there", printable(entry.source), real);
      layer_.put_directory(real, metadata(entry), LayerTree::Existing::overwrite);
      placed[entry.relative] = real;
    }
  }

  void single(const CopyPart& part, const std::string& directory, const std::string& name) {
    layer_.make_directories(directory, chown_.value_or(Owner{}));
    if (part.content) {
      Metadata plain{.mode = 0644, .owner = chown_.value_or(Owner{}), .mtime = options_.now};
      if (chmod_) plain.mode = chmod_->apply(plain.mode, ModeChange::Target::file);
      layer_.put_file(below(directory, name), plain, [&](int fd) { write_fd(fd, *part.content, name); });
      return;
    }
    const CopyEntry& entry = part.entries[0];
    if (action_.unpack && S_ISREG(entry.info.st_mode)) {
      Fd fd = origin_.tree.open(entry.source);
      if (is_archive(fd.get(), entry.source.substr(1))) {
        std::string target = layer_.resolve(action_.destination);
        if (auto existing = layer_.view().find(target); existing && !existing->is_directory())
          throw Error("cannot extract '{}' to '{}': it is a file, not a directory", part.name, target);
        layer_.make_directories(target, chown_.value_or(Owner{}));
        extract(fd.get(), entry.source.substr(1), target);
        return;
      }
    }
    std::string target = below(directory, name);
    if (size_t slash = name.rfind('/'); slash != std::string::npos)  // --parents
      layer_.make_directories(layer_.resolve(parent_of(target)), chown_.value_or(Owner{}));
    put(entry, target);
  }

  void put(const CopyEntry& entry, const std::string& target) {
    if (options_.poll) options_.poll();
    if (S_ISSOCK(entry.info.st_mode)) return;
    if (S_ISLNK(entry.info.st_mode)) {
      layer_.put_symlink(target, origin_.tree.read_link(entry.source), metadata(entry));
      return;
    }
    if (!S_ISREG(entry.info.st_mode)) {
      layer_.put_special(target, entry.info.st_mode, entry.info.st_rdev, metadata(entry));
      return;
    }
    if (origin_.kind == CopyOrigin::Kind::root && entry.info.st_nlink > 1) {
      auto [first, is_new] = links_.try_emplace({entry.info.st_dev, entry.info.st_ino}, target);
      if (!is_new) {
        layer_.put_hardlink(target, first->second);
        return;
      }
    }
    Fd source = origin_.tree.open(entry.source);
    layer_.put_file(target, metadata(entry), [&](int fd) { copy_content(source.get(), fd, entry.source); });
  }

  // Where a member of an archive goes: beneath `root` by its name, past the symlinks of the image above it.
  std::string member_path(const std::string& root, const std::string& archive, const std::string& name) {
    std::string clean = clean_path(name);
    while (!clean.empty() && clean.front() == '/') clean.erase(0, 1);
    if (clean == ".." || clean.substr(0, 3) == "../")
      throw Error("cannot extract '{}': its member '{}' leads out of the archive", archive, printable(name));
    if (clean.empty() || clean == ".") return root;
    std::string path = below(root, clean);
    std::string parent = layer_.resolve(parent_of(path));
    return below(parent, path.substr(path.rfind('/') + 1));
  }

  void extract(int fd, const std::string& archive, const std::string& root) {
    if (chmod_) throw Error("cannot extract '{}': --chmod doesn't go with an archive", archive);
    TarReader tar(decompress(read_from(fd, archive)));
    TarEntry entry;
    while (tar.next(entry)) {
      if (options_.poll) options_.poll();
      member(tar, entry, archive, root);
    }
  }

  void member(TarReader& tar, const TarEntry& entry, const std::string& archive, const std::string& root) {
    using Type = TarEntry::Type;
    constexpr auto replace = LayerTree::InTheWay::replace;
    std::string path = member_path(root, archive, entry.path);
    Metadata data{.mode = entry.mode & 07777, .owner = {entry.uid, entry.gid}};
    data.mtime = {entry.mtime, entry.mtime_nanoseconds};
    for (const auto& [key, value] : entry.xattrs)
      if (key == "security.capability" ||
          (key.substr(0, 5) == "user." && key.substr(0, 13) != "user.overlay."))
        data.attributes.emplace(key, value);
    if (chown_) data.owner = *chown_;
    if (path != root) layer_.make_directories(parent_of(path), chown_.value_or(Owner{}));
    if (entry.type == Type::directory) {
      std::string real = layer_.resolve(path);  // a directory of the archive may be a link of the image
      auto existing = layer_.view().find(real);
      layer_.put_directory(existing && existing->is_directory() ? real : path, data,
                           path == root ? LayerTree::Existing::keep : LayerTree::Existing::overwrite);
    } else if (path == root) {
      throw Error("cannot extract '{}': its member '{}' has no name", archive, printable(entry.path));
    } else if (entry.type == Type::symlink) {
      layer_.put_symlink(path, entry.link, data, replace);
    } else if (entry.type == Type::hardlink) {
      layer_.put_hardlink(path, member_path(root, archive, entry.link), replace);
    } else if (entry.type == Type::file) {
      layer_.put_file(
          path, data, [&](int out) { fill(tar, out, entry, path); }, replace);
    } else if (entry.type != Type::other) {
      mode_t type = entry.type == Type::fifo ? S_IFIFO : entry.type == Type::block ? S_IFBLK : S_IFCHR;
      layer_.put_special(path, type, makedev(entry.device_major, entry.device_minor), data, replace);
    } else {
      throw Error("cannot extract '{}': its member '{}' is of an unknown kind", archive,
                  printable(entry.path));
    }
  }

  void fill(TarReader& tar, int out, const TarEntry& entry, const std::string& path) {
    tar.read([&](uint64_t offset, Bytes bytes) {
      if (options_.poll) options_.poll();
      check(lseek(out, static_cast<off_t>(offset), SEEK_SET), "cannot write '{}'", path);
      write_fd(out, as_text(bytes), path);
    });
    check(ftruncate(out, static_cast<off_t>(entry.size)), "cannot write '{}'", path);
  }

  const CopyAction& action_;
  CopyOrigin& origin_;
  LayerTree& layer_;
  const CopyOptions& options_;
  std::optional<Owner> chown_;
  std::optional<ModeChange> chmod_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

}  // namespace

void copy_parts(const CopyAction& action, const std::vector<CopyPart>& parts, CopyOrigin& origin,
                LayerTree& layer, const CopyOptions& options) {
  Copier(action, origin, layer, options).run(parts);
}

bool make_workdir(LayerTree& layer, const std::string& path, const std::string& user) {
  std::string real = layer.resolve(path);
  for (std::string_view kernel : {"/proc", "/sys"})
    if (real.substr(0, kernel.size()) == kernel &&
        (real.size() == kernel.size() || real[kernel.size()] == '/'))
      throw Error("cannot use '{}' as the working directory: it lies in {}, which the kernel fills",
                  printable(path), kernel);
  if (auto found = layer.view().find(real)) {
    if (!found->is_directory())
      throw Error("cannot use '{}' as the working directory: it is a file", printable(path));
    return false;
  }
  layer.make_directories(real, owner_in_image(layer.view(), user));
  layer.finish();
  return true;
}

}  // namespace rayctl::oci
