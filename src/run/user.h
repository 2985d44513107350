// Users of an image: `USER name:group` against the passwd and group files of the root filesystem.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::run {

struct ResolvedUser {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> additional_gids = {};  // the groups that list the user; none when a group was named
  std::string name = {};                       // empty when the uid has no entry
  std::string home = "/";
};

// `user` is "", "name", "uid", "name:group", "uid:gid", … (image configuration's `User`). A string of digits
// is a number, 0 … 2^32-2; everything else must have an entry. `passwd` and `group` are the files' contents.
ResolvedUser resolve_user(std::string_view user, std::string_view passwd, std::string_view group);

// Reads /etc/passwd and /etc/group beneath `root` (an open directory: nothing is followed out of it; at most
// 4 MiB each).
ResolvedUser resolve_user_in_root(std::string_view user, int root);

// The same for a root filesystem that is given as overlay layers, bottom first: the topmost layer that has
// the file counts.
ResolvedUser resolve_user_in_layers(std::string_view user, const std::vector<std::string>& lowerdirs);

}  // namespace rayctl::run
