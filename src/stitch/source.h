// A spec's text, and how a place in it is shown to people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "stitch/deployment.h"

namespace rayctl::stitch {

struct Source {
  std::string name;       // as the user gave it; in messages
  std::string directory;  // where its imports may be; empty for what isn't a file
  std::string text;
};

// A fault in a spec: "ray.spec:4:15: <message>", the line and a caret below it.
class SpecError : public Error {
 public:
  // `trail` is put below the caret: the calls that led there.
  SpecError(const Source& source, uint32_t line, uint32_t column, std::string_view message,
            std::string_view trail = {});
  const Position& at() const { return at_; }

 private:
  Position at_;
};

// The line with a caret below column (from 1, in bytes), indented by two; long lines are cut around it.
std::string excerpt(const Source& source, uint32_t line, uint32_t column);

}  // namespace rayctl::stitch
