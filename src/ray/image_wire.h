// Images on control streams: what both sides write and read.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/json.h"
#include "oci/image.h"

namespace rayctl::ray {

// An image's name with this in front means: from the head's own store (`rayctl push head:NAME`).
constexpr std::string_view head_image_prefix = "head:";

constexpr size_t max_blobs_asked = 2000;           // in one image.missing
constexpr uint64_t max_blob_size = 1ull << 40;     // bytes
constexpr size_t max_inline_manifest = 200 << 10;  // bytes; a message holds 256 KiB

nlohmann::json to_json(const oci::Descriptor& blob);  // {digest, size, media_type}
oci::Descriptor parse_blob(const Json& json);         // strict

}  // namespace rayctl::ray
