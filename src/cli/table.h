// Columns of text for listings.
#pragma once

#include <string>
#include <vector>

namespace rayctl::cli {

// Rows under a header, columns as wide as their widest cell with three spaces between, no blanks at line
// ends. Control characters in cells are escaped.
std::string render_table(const std::vector<std::string>& header,
                         const std::vector<std::vector<std::string>>& rows);

enum class Output { table, json };

}  // namespace rayctl::cli
