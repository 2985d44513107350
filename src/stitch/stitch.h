// Stitch, the language of 2016's `.spec` files: text in, deployment out. docs/stitch.md is the reference.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "stitch/deployment.h"

namespace rayctl::stitch {

struct Limits {
  uint64_t steps = 20'000'000;     // evaluations of a form or of an item of a list
  uint64_t memory = 256ull << 20;  // bytes of the tree and of values
  unsigned depth = 400;            // forms within forms
  size_t file_size = 4 << 20;      // of each file
};

struct Options {
  std::vector<std::string> path = {};  // directories where imports are looked for first
  Limits limits = {};
  // What `log` and warnings say.
  std::function<void(Level, const std::string&)> log = [](Level level, const std::string& text) {
    log_line(level, printable(text));
  };
};

// $QUILT_PATH, its directories separated by ':'; without it ~/.quilt.
std::vector<std::string> quilt_path();
// What programs use: that path, the limits above, the log of the program.
Options default_options();

// Evaluates a spec. `file` names it in messages; imports that aren't on the path are looked for in its
// directory. Throws: "FILE:LINE:COLUMN: …" with the line and a caret, and the calls that led there.
Deployment evaluate(std::string text, const std::string& file, const Options& options);

// A `.spec`, or a JSON file of the same model (it begins with '{' or its name ends in .json). Says remarks()
// of it as warnings.
Deployment load_deployment(const std::string& path, const Options& options = default_options());

// The specs that are part of the program: import path -> text, e.g.
// "github.com/NetSys/quilt/specs/stdlib/strings".
struct BuiltinSpec {
  std::string_view path;  // in the source tree, "specs/stdlib/strings.spec"
  std::string_view text;
};
const std::vector<BuiltinSpec>& builtin_specs();

// The paths that a file imports, in order; a SpecError when it doesn't parse. For `get`.
std::vector<std::string> imports_of(std::string text, const std::string& file);

// Is it a path that `import` takes: names separated by '/', none of them ".", ".." or hidden?
bool is_import_path(std::string_view path);

}  // namespace rayctl::stitch
