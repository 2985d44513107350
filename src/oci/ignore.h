// .dockerignore: which files of the context a build doesn't see.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci/pattern.h"

namespace rayctl::oci {

// A list of patterns where the last that fits decides and `!` takes back in. A pattern that fits a directory
// fits all below it. The same rules serve COPY --exclude.
class IgnoreList {
 public:
  IgnoreList() = default;
  // The text of a .dockerignore file; errors begin with "FILE:LINE: ".
  static IgnoreList parse(std::string_view text, const std::string& file);
  static IgnoreList of(const std::vector<std::string>& patterns);

  // `path` is relative to the root, without "./".
  bool ignores(std::string_view path) const;
  // False when nothing below an ignored directory can be taken back in: it needn't be read.
  bool may_hold_exceptions(std::string_view directory) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    Pattern pattern;
    bool exception = false;
  };
  void add(std::string_view line);

  std::vector<Rule> rules_;
};

}  // namespace rayctl::oci
