// The INI files of Amazon's tools: ~/.aws/credentials and ~/.aws/config.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace rayctl::cloud {

using IniSection = std::map<std::string, std::string>;  // keys in lower case
using Ini = std::map<std::string, IniSection>;          // by the text between the brackets, blanks made one

// As botocore reads it: `#` and `;` begin a comment at a line's start, and after a blank in a value; indented
// lines belong to a nested setting and are skipped; a key or a section that comes again replaces its values.
// `name` is for errors.
Ini parse_ini(std::string_view text, const std::string& name);

}  // namespace rayctl::cloud
