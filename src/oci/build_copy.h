// COPY and ADD: which files a source names, what they hash to, and how they get into a layer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "oci/build_state.h"
#include "oci/build_tree.h"
#include "oci/digest.h"
#include "oci/ignore.h"

namespace rayctl::oci {

// Where COPY takes files from. The build context: nothing leads out of it, owners don't count. A stage or an
// image is a whole root: its symlinks resolve within it, owners, attributes and hard links stay.
struct CopyOrigin {
  enum class Kind { context, root };
  Kind kind = Kind::context;
  MergedView& tree;
  const IgnoreList& ignore;
  std::string name;  // "the build context '/x'", "stage 'build'"
};

// One file or directory that goes into the layer. `relative` is below what the source named; empty for
// itself.
struct CopyEntry {
  std::string source;  // resolved, in the origin's tree
  std::string relative;
  struct stat info;
};

// What one source names: a file, a directory with all that is in it, or a heredoc.
struct CopyPart {
  std::string name;  // the last component as written; with --parents the path that is kept
  std::optional<std::string> content = {};
  std::vector<CopyEntry> entries = {};  // directories before what is in them
  bool is_directory() const { return !entries.empty() && S_ISDIR(entries[0].info.st_mode); }
};

// Resolves the sources of an action. A pattern that fits nothing, a missing file and a symlink that leads out
// of the context are errors that name it.
std::vector<CopyPart> select_parts(const CopyAction& action, CopyOrigin& origin);

// Names, kinds, modes, targets of symlinks and contents; of a root also owners. Never times.
Digest content_digest(const std::vector<CopyPart>& parts, CopyOrigin& origin,
                      const std::function<void()>& poll);

struct CopyOptions {
  timespec now = {};                // of directories and heredocs that the build makes
  std::function<void()> poll = {};  // called often; throws to stop
};

// Writes the parts into the layer. `passwd` and `group` of the image decide what --chown names.
void copy_parts(const CopyAction& action, const std::vector<CopyPart>& parts, CopyOrigin& origin,
                LayerTree& layer, const CopyOptions& options);

// WORKDIR: makes the directory, owned by `user`, unless it is there. Returns whether it made one.
bool make_workdir(LayerTree& layer, const std::string& path, const std::string& user);

}  // namespace rayctl::oci
