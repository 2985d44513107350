#include "oci/ignore.h"

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

// Whether the pattern fits the path or a directory above it.
bool fits_or_above(const Pattern& pattern, std::string_view path) {
  if (pattern.matches(path)) return true;
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', slash + 1))
    if (pattern.matches(path.substr(0, slash))) return true;
  return false;
}

}  // namespace

void IgnoreList::add(std::string_view line) {
  bool exception = line.front() == '!';
  if (exception) line = trim(line.substr(1));
  if (line.empty()) throw Error("a lone '!' takes nothing back");
  std::string pattern = clean_path(line);
  if (pattern != "/" && pattern.front() == '/') pattern.erase(0, 1);
  rules_.push_back({Pattern(pattern, Pattern::Kind::tree), exception});
}

IgnoreList IgnoreList::parse(std::string_view text, const std::string& file) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  IgnoreList list;
  int number = 0;
  for (const std::string& raw : split(text, '\n')) {
    ++number;
    if (!raw.empty() && raw.front() == '#') continue;
    std::string_view line = trim(raw);
    if (line.empty()) continue;
    try {
      list.add(line);
    } catch (Error& error) {
      error.prefix("{}:{}", file, number);
      throw;
    }
  }
  return list;
}

IgnoreList IgnoreList::of(const std::vector<std::string>& patterns) {
  IgnoreList list;
  for (const std::string& pattern : patterns)
    if (std::string_view line = trim(pattern); !line.empty()) list.add(line);
  return list;
}

bool IgnoreList::ignores(std::string_view path) const {
  bool ignored = false;
  for (const Rule& rule : rules_)
    if (rule.exception == ignored && fits_or_above(rule.pattern, path)) ignored = !rule.exception;
  return ignored;
}

bool IgnoreList::may_hold_exceptions(std::string_view directory) const {
  for (const Rule& rule : rules_) {
    if (!rule.exception) continue;
    std::string_view text = rule.pattern.text();
    size_t wild = text.find_first_of("*?[\\");
    std::string_view fixed = wild == std::string_view::npos ? text : text.substr(0, wild);
    std::string prefix = std::string(directory) + "/";
    size_t common = std::min(fixed.size(), prefix.size());
    if (fixed.substr(0, common) == std::string_view(prefix).substr(0, common)) return true;
  }
  return false;
}

}  // namespace rayctl::oci
