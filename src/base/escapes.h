// Terminal control sequences in the output of other programs.
#pragma once

#include <string>
#include <string_view>

namespace rayctl {

// The text without what drives a terminal (ECMA-48: colours, cursor movements, titles), as far as sequences
// are whole.
std::string without_escapes(std::string_view text);

}  // namespace rayctl
