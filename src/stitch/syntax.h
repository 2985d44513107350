// The tree of a spec's forms.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "stitch/source.h"

namespace rayctl::stitch {

// Numbers for names, so that they are compared quickly.
class Symbols {
 public:
  uint32_t intern(std::string_view name);
  const std::string& name(uint32_t symbol) const { return names_[symbol]; }
  size_t size() const { return names_.size(); }

 private:
  std::deque<std::string> names_;
  std::unordered_map<std::string_view, uint32_t> ids_;
};

// A word or a form; lives as long as its Parsed.
struct Node {
  enum class Kind : uint8_t { integer, real, boolean, string, name, form };
  Kind kind = Kind::form;
  uint32_t line = 0, column = 0;
  const Source* source = nullptr;
  uint32_t symbol = 0;                     // name
  int64_t integer = 0;                     // integer; boolean: 0 or 1
  double real = 0;                         // real
  std::string text = {};                   // string
  std::vector<const Node*> children = {};  // form
};

struct Parsed {
  std::unique_ptr<Source> source;
  std::deque<Node> nodes;  // owns them all: a tree of any depth is freed without recursion
  std::vector<const Node*> forms;
};

// Throws a SpecError. `most_nodes` bounds memory.
Parsed parse(Source source, Symbols& symbols, size_t most_nodes = 2'000'000);

}  // namespace rayctl::stitch
