// Writes files into a layer's directory as if into the whole image, without mounting it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/io.h"
#include "oci/build_owner.h"
#include "oci/build_view.h"

namespace rayctl::oci {

// What a file has beside its content.
struct Metadata {
  mode_t mode = 0644;
  Owner owner = {};
  timespec mtime = {};
  Attributes attributes = {};
};

// A layer in the making over the layers below it. Paths are absolute within the image and contain no symlink
// (see resolve). Directories above what is written are taken over from below with all they have, or made
// 0755.
class LayerTree {
 public:
  // `upper`: the layer's directory. `made`: the owner and time of directories that nobody describes.
  LayerTree(const std::vector<std::string>& lowerdirs, const std::string& upper, timespec now);

  MergedView& view() { return view_; }
  std::string resolve(const std::string& path) { return view_.resolve(path, MergedView::Last::follow); }

  void make_directories(const std::string& path, const Owner& owner);  // a file in the way is an error
  // The directory exists afterwards. `metadata` is set when it is new, or always with Existing::overwrite.
  enum class Existing { keep, overwrite };
  void put_directory(const std::string& path, const Metadata& metadata, Existing existing);
  // Fills the new file through the fd. What was there goes; a directory in its place is an error unless
  // `replace`.
  enum class InTheWay { refuse, replace };
  void put_file(const std::string& path, const Metadata& metadata, const std::function<void(int fd)>& fill,
                InTheWay in_the_way = InTheWay::refuse);
  void put_symlink(const std::string& path, const std::string& target, const Metadata& metadata,
                   InTheWay in_the_way = InTheWay::refuse);
  void put_special(const std::string& path, mode_t type, dev_t device, const Metadata& metadata,
                   InTheWay in_the_way = InTheWay::refuse);
  // To a file of this layer, or a copy of one below.
  void put_hardlink(const std::string& path, const std::string& target,
                    InTheWay in_the_way = InTheWay::refuse);

  void finish();  // sets the times of directories: last of all

 private:
  void ensure_parent(const std::string& path);
  void ensure_upper(const std::string& path);  // an existing directory of the image, in this layer too
  Fd parent_of(const std::string& path, std::string& name);
  Fd clear(const std::string& path, std::string& name, InTheWay in_the_way);
  void make(const std::string& path, const Metadata& metadata);
  void apply(int fd, const std::string& path, const Metadata& metadata);

  std::string upper_path_;
  Fd upper_;
  MergedView view_, below_;
  timespec now_;
  Owner maker_ = {};
  std::vector<std::pair<std::string, timespec>> times_;  // of directories, by path
  std::set<std::string> in_upper_;                       // directories known to be in this layer
};

// Copies a whole file, sharing its blocks where the file system can.
void copy_content(int from, int to, const std::string& name);

}  // namespace rayctl::oci
