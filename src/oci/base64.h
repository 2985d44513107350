// RFC 4648, the plain alphabet with padding, as docker's configuration has it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rayctl::oci {

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);  // empty when it isn't base64

}  // namespace rayctl::oci
