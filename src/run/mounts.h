// Mounts by descriptor: made detached, changed while nobody sees them, then put onto an open directory or
// file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "run/mount_options.h"

namespace rayctl::run {

enum class Depth { one, recursive };

// A copy of the mount at `path` (empty: of `directory` itself), detached.
Fd clone_mount(int directory, const std::string& path, Depth depth);

using MountData = std::vector<std::pair<std::string, std::optional<std::string>>>;

// A new file system, detached. The kernel's own words about a bad option become part of the error.
Fd new_file_system(const std::string& type, const std::string& source, const MountData& data,
                   uint64_t attributes);

// An overlay; directories of any length and number.
Fd new_overlay(const Overlay& overlay);

// Puts the detached `tree` onto what `target` is open on, then sets what `options` ask for; on kernels
// before 5.12 (no mount_setattr) in that order, else before anyone can see it.
void attach(int tree, int target, const MountOptions& options, const std::string& name);
void attach(int tree, int target, const std::string& name);

// Changes an attached mount; `fd` is open on its root.
void set_attributes(int fd, const MountOptions& options, const std::string& name);
void make_readonly(int fd, Depth depth, const std::string& name);

// Everything at `source` into `target` (both open directories): files, directories, symlinks, owners, modes.
void copy_tree(int source, int target, const std::string& name);

}  // namespace rayctl::run
