// Paths of a layer, and directories found beneath a root without ever leaving it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace rayctl::oci {

// "/a/./b/../c/" is {"a", "c"}; ".." at the top stays at the top. Throws when a part or the whole is too
// long.
std::vector<std::string> path_parts(std::string_view path);
std::string path_of(const std::vector<std::string>& parts);  // "a/c"; empty = the root

// What a walk found.
struct TreePlace {
  Fd directory;                    // O_PATH
  std::vector<std::string> parts;  // where it is, with every symlink resolved
};

// Called for a part that is missing or no directory (`found` = its st_mode, 0 = missing): makes it a
// directory, or throws.
using MakeDirectory = std::function<void(int parent, const std::string& name, unsigned found,
                                         const std::vector<std::string>& parent_parts)>;

// Walks to a directory part by part; symlinks count from `root`, at most 40 of them.
TreePlace walk(int root, const std::vector<std::string>& parts, const MakeDirectory& make);

// A file name as a path that system calls without an at() form take.
std::string proc_path(int directory, const std::string& name = "");

}  // namespace rayctl::oci
