// Writes a layer's tar archive beneath a directory, as a lower directory for overlayfs (image-spec,
// layer.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "oci/tar_reader.h"

namespace rayctl::oci {

// apply: as the archive says, needs root. keep: files belong to us, devices are left out (tests).
enum class Ownership { apply, keep };

// overlay: `.wh.` names become overlayfs's marks. none: they are names like others (ADD of an archive).
enum class Whiteouts { overlay, none };

struct UnpackOptions {
  Ownership ownership = Ownership::apply;
  Whiteouts whiteouts = Whiteouts::overlay;
  uint64_t most_entries = 10'000'000;
  uint64_t most_bytes = 1ull << 40;
};

// A hard link to a file that is in a layer below.
struct LowerLink {
  std::string path, target;  // normalised, without a leading '/'
};

struct Unpacked {
  uint64_t bytes = 0, entries = 0;
  bool opaque_root = false;
  // What only the layers below can complete: finish_layer() in layer_merge.h.
  std::vector<std::string> implied;  // directories that the archive doesn't list, parents first
  std::vector<LowerLink> links;
};

// `root` stays the caller's. No path leaves it, whatever the archive says; one that tries ends inside.
Unpacked unpack(TarReader& tar, int root, const UnpackOptions& options = {});

// The mark of a directory that hides what is below it.
const char* opaque_attribute(Ownership ownership);

}  // namespace rayctl::oci
