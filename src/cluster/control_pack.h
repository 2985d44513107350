// JSON that goes to thousands of nodes is packed once for all of them: a zstd frame in place of the text. Ids
// and keys stay, the rest of a node's record all but vanishes.
#pragma once

#include <string>
#include <string_view>

namespace rayctl::cluster {

// A zstd frame (RFC 8878) that tells its content's size; short text comes back as it is. Throws when memory
// is short.
std::string pack(std::string_view json);
bool is_packed(std::string_view payload);  // it begins like a zstd frame, as no JSON does
// What pack() was given; what isn't packed comes back as it is. Throws on a damaged frame, and on one whose
// content is larger than `limit` bytes before any of it is unpacked.
std::string unpack(std::string_view packed, size_t limit);

}  // namespace rayctl::cluster
