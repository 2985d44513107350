#include "ray/image_wire.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::ray {

nlohmann::json to_json(const oci::Descriptor& blob) {
  return {{"digest", blob.digest.string()}, {"size", blob.size}, {"media_type", blob.media_type}};
}

oci::Descriptor parse_blob(const Json& json) {
  oci::Descriptor blob;
  blob.digest = oci::Digest::parse(json.at("digest").string());
  blob.size = json.at("size").size();
  blob.media_type = json.string_or("media_type", "");
  if (blob.size > max_blob_size)
    throw Error("{}: a blob of {} bytes is larger than any", json.at("size").path(), blob.size);
  if (blob.media_type.size() > 256) throw Error("{}: too long", json.at("media_type").path());
  return blob;
}

}  // namespace rayctl::ray
