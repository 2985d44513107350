// The merged tree of a stack of layer directories, read without mounting it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "oci/unpack.h"

namespace rayctl::oci {

// Attributes that a layer carries: security.capability, user.* and POSIX ACLs; never overlayfs's own marks.
using Attributes = std::map<std::string, std::string>;
Attributes read_attributes(int fd, std::string_view name);             // of an open file or directory
Attributes entry_attributes(int directory, const std::string& entry);  // of an entry, not followed
bool is_whiteout(const struct stat& info);                             // character device 0:0
// Whether overlayfs's mark says so; which attribute that is depends on who made the layer.
bool is_opaque(int directory, Ownership ownership = Ownership::apply);

// Paths are absolute within the tree ("/etc/passwd"); whiteouts and opaque directories hide what is below
// them. Not for use by several threads at once.
class MergedView {
 private:
  struct Directory {
    std::vector<Fd> parts;  // the layers' directories that make it up, top first
  };

 public:
  explicit MergedView(const std::vector<std::string>& lowerdirs,  // bottom first
                      Ownership ownership = Ownership::apply);

  struct Entry {
    struct stat info;
    bool is_directory() const { return S_ISDIR(info.st_mode); }
    bool is_symlink() const { return S_ISLNK(info.st_mode); }
  };

  // The directory of a layer that an entry comes from.
  struct Located {
    std::shared_ptr<Directory> parent;
    int part = -1;  // fd in parent
    std::string name;
    Entry entry;
  };

  // What is at `path`, the last component not followed; those before it are expected to be directories.
  std::optional<Located> locate(const std::string& path);
  std::optional<Entry> find(const std::string& path);
  std::vector<std::string> list(const std::string& path);  // names in a directory, sorted
  Fd open(const std::string& path);  // O_RDONLY, not followed; a regular file or directory
  std::string read_link(const std::string& path);
  Attributes attributes(const std::string& path);

  enum class Last { follow, keep };
  enum class Leaving { clamp, refuse };
  // The path without symlinks, as if the tree were "/"; components that don't exist stay as they are. Throws
  // when links go in circles, and with Leaving::refuse when a link is absolute or goes above the root.
  std::string resolve(const std::string& path, Last last, Leaving leaving = Leaving::clamp);

  // Drops what is remembered about a directory and all below it: it was changed.
  void forget(const std::string& path);

  // A regular file's content, symlinks followed within the tree; empty when there is none.
  std::optional<std::string> read_file(const std::string& path, size_t limit);

 private:
  std::shared_ptr<Directory> directory(const std::string& path);
  std::shared_ptr<Directory> child(const Directory& parent, const std::string& name);
  void remember(const std::string& path, std::shared_ptr<Directory> directory);

  Ownership ownership_;
  std::shared_ptr<Directory> root_;
  std::map<std::string, std::shared_ptr<Directory>> cache_;
  std::vector<std::string> order_;  // of cache_, oldest first
  size_t open_ = 0;                 // descriptors that cache_ holds
};

}  // namespace rayctl::oci
