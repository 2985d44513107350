// What a layer changes: the difference between an overlay's upper directory and what lies below it.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "oci/build_view.h"

namespace rayctl::oci {

// One entry of a layer, by its path without a leading '/'.
struct Change {
  enum class Kind { whiteout, directory, file, symlink, hardlink, device, fifo };
  Kind kind;
  std::string path;  // of a whiteout: what it hides
  struct stat info = {};
  std::string link = {};  // a symlink's target; a hardlink's earlier path
  Attributes attributes = {};
};

// The changes in the order of the layer: directories before what is in them, whiteouts before their siblings,
// names by their bytes. Left out: whiteouts of nothing, sockets, and directories that neither changed (mode,
// owner, attributes) nor hold a change. An opaque directory becomes one whiteout for each name that it hides.
// A name that begins with ".wh." is an error, and so is an overlayfs redirect (mount with
// redirect_dir=off,metacopy=off).
std::vector<Change> find_changes(int upper, MergedView& below);

}  // namespace rayctl::oci
