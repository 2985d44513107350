// Unpacked layers, each a directory that overlayfs takes as a lower one: layers/<chain id>/fs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "oci/config.h"
#include "oci/digest.h"

namespace rayctl::oci {

struct LayerInfo {
  Digest chain = {}, diff_id = {};
  uint64_t size = 0;         // bytes of its files
  uint64_t entries = 0;      // of its tar
  bool opaque_root = false;  // nothing below it shows: overlayfs heeds no opaque mark on a root
};

class LayerDraft;

// The directory of unpacked layers. Its mode is 0700: no user of the host may run what lies in it.
class Layers {
 public:
  explicit Layers(const std::string& state_dir);  // its "layers", made when missing
  const std::string& directory() const { return directory_; }

  // A layer that was written since the last boot, or that has reached the disk: one cut short by a power
  // failure doesn't count and is unpacked anew.
  std::optional<LayerInfo> find(const Digest& chain) const;
  bool has(const Digest& chain) const { return find(chain).has_value(); }
  std::string path(const Digest& chain) const;  // the lower directory, absolute

  LayerDraft draft();

  // What overlayfs needs for an image, bottom first; throws when a layer isn't unpacked.
  std::vector<std::string> lowerdirs(const ImageConfig& config) const;
  // The same as names relative to directory(): mount options end at 4 KiB, so the mounter goes there first.
  std::vector<std::string> short_lowerdirs(const ImageConfig& config) const;

  std::vector<Digest> list() const;
  void remove(const Digest& chain);
  void remove_stale();  // what killed processes left: drafts and removals that nobody works on
  void sync();          // writes all to disk; from here on the layers outlast a power failure

 private:
  friend class LayerDraft;
  std::vector<Digest> visible(const ImageConfig& config) const;
  std::string link_name(const Digest& chain) const;

  std::string directory_;
};

// A layer in the making; removed by the destructor unless it was committed.
class LayerDraft {
 public:
  LayerDraft(LayerDraft&& other) noexcept = default;
  LayerDraft& operator=(LayerDraft&&) = delete;
  ~LayerDraft();
  std::string path() const {
    return path_ + "/fs";
  }  // fill this one, or rename a finished upper directory onto it
  // Renames it into place. When another process was quicker, its layer stays and ours goes.
  void commit(const LayerInfo& info);

 private:
  friend class Layers;
  LayerDraft(std::string layers, std::string path, Fd lock)
      : layers_(std::move(layers)), path_(std::move(path)), lock_(std::move(lock)) {}
  std::string layers_, path_;
  Fd lock_;
};

}  // namespace rayctl::oci
