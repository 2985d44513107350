#include "cloud/ini.h"

#include "base/error.h"
#include "base/text.h"
#include "cloud/api.h"

namespace rayctl::cloud {

namespace {

std::string without_comment(std::string_view value) {
  for (std::string_view mark : {" #", " ;", "\t#", "\t;"}) value = value.substr(0, value.find(mark));
  return std::string(trim(value));
}

std::string section_name(std::string_view text) {
  std::string name;
  for (const std::string& word : split(text, ' '))
    if (!trim(word).empty()) name += (name.empty() ? "" : " ") + std::string(trim(word));
  std::erase(name, '"');  // [profile "two words"]
  return name;
}

}  // namespace

Ini parse_ini(std::string_view text, const std::string& name) {
  Ini ini;
  IniSection* section = nullptr;
  size_t number = 0;
  for (const std::string& line : split(text, '\n')) {
    ++number;
    std::string_view content = trim(line);
    if (content.empty() || content[0] == '#' || content[0] == ';') continue;
    if (content[0] == '[') {
      size_t end = content.find(']');
      if (end == std::string_view::npos) throw Error("{}:{}: the section's ']' is missing", name, number);
      section = &ini[section_name(content.substr(1, end - 1))];
      continue;
    }
    if (line[0] == ' ' || line[0] == '\t') continue;
    size_t equals = content.find('=');
    if (equals == std::string_view::npos) throw Error("{}:{}: expected KEY = VALUE", name, number);
    if (!section) throw Error("{}:{}: a key before the first [section]", name, number);
    (*section)[lower_case(trim(content.substr(0, equals)))] = without_comment(content.substr(equals + 1));
  }
  return ini;
}

}  // namespace rayctl::cloud
