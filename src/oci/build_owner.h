// --chown and --chmod: owners by an image's own passwd and group, modes in octal or symbols.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl::oci {

struct Owner {
  uint32_t uid = 0, gid = 0;
  bool operator==(const Owner&) const = default;
};

// "name", "uid", "name:group", "uid:gid", …; "" is root. A name alone brings its own group, a number alone is
// the group's number too. `passwd` and `group` are the files' contents. Digits are numbers from 0 to 2^32-2.
Owner parse_owner(std::string_view text, std::string_view passwd, std::string_view group);

// A mode change, applied to what a file has.
class ModeChange {
 public:
  // "755", "u=rwX,go=rX", "+x", "g=u"; more than 07777 is an error.
  explicit ModeChange(std::string_view text);
  enum class Target { file, directory };
  mode_t apply(mode_t mode, Target target) const;  // permission bits only

 private:
  struct Clause {
    mode_t who = 0;  // mask of rwx bits that it may change
    bool set_special[3] = {};
    char operation = 0;
    std::string permissions;  // of rwxXst, or one of ugo
  };
  int absolute_ = -1;
  std::vector<Clause> clauses_;
};

}  // namespace rayctl::oci
