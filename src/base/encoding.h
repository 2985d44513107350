// Bytes as text and back, random bytes, and the one-shot SHA-256 of short inputs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rayctl {

std::string hex(std::string_view bytes);        // lower case
std::string base64url(std::string_view bytes);  // RFC 4648 section 5, without padding
std::optional<std::string> decode_base64url(
    std::string_view text);  // empty: a foreign character, a bad length, loose bits

std::string random_bytes(size_t count);      // from the kernel; for keys and secrets
std::string sha256(std::string_view bytes);  // 32 raw bytes
std::string hmac_sha256(std::string_view key, std::string_view bytes);  // RFC 2104; 32 raw bytes

// Compares without telling by its duration where the first difference is; a different length is told.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace rayctl
