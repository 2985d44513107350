// Where an import's text comes from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stitch/source.h"

namespace rayctl::stitch {

struct Imported {
  std::string key;             // what makes it the same spec again: its file's path, or "built-in NAME"
  std::string file = {};       // empty: it is built in
  std::string_view text = {};  // of a built-in one
};

// Looked for in this order: PATH.spec in the directories of `path`, in `directory` (of the importing file;
// empty = none), among the built-in specs.
std::optional<Imported> find_import(const std::string& import_path, const std::vector<std::string>& path,
                                    const std::string& directory);
Source read_import(const Imported& imported, size_t most_bytes);
std::string import_key(const Source& source);  // of the spec itself

}  // namespace rayctl::stitch
