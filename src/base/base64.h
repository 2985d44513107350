// RFC 4648, the plain alphabet with padding.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rayctl {

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);  // empty when it isn't base64

}  // namespace rayctl
