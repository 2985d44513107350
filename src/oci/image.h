// The documents of an image: manifests and indexes, of OCI and of docker.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "oci/config.h"
#include "oci/digest.h"
#include "oci/platform.h"

namespace rayctl::oci {

namespace media {
inline constexpr std::string_view oci_index = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view oci_manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view oci_config = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view oci_layer = "application/vnd.oci.image.layer.v1.tar";
inline constexpr std::string_view oci_layer_gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr std::string_view oci_layer_zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr std::string_view docker_index = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view docker_config = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view docker_layer_gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";

bool is_index(std::string_view type);
bool is_manifest(std::string_view type);
bool is_config(std::string_view type);
bool is_layer(std::string_view type);  // any compression; the bytes say which
bool is_foreign(
    std::string_view type);  // a layer that registries don't hold: neither pushed nor fetched by URL
}  // namespace media

inline constexpr std::string_view ref_name_annotation = "org.opencontainers.image.ref.name";

// Points to a blob (image-spec, descriptor.md).
struct Descriptor {
  std::string media_type = {};
  Digest digest = {};
  uint64_t size = 0;
  std::map<std::string, std::string> annotations = {};
  std::optional<Platform> platform = {};
  std::string artifact_type = {};
  std::vector<std::string> urls = {};  // kept, never fetched (CVE-2020-15157)

  bool operator==(const Descriptor&) const = default;
};

struct Manifest {
  std::string media_type = std::string(media::oci_manifest);
  Descriptor config = {};
  std::vector<Descriptor> layers = {};  // bottom first
  std::map<std::string, std::string> annotations = {};
  std::optional<Descriptor> subject = {};
  std::string artifact_type = {};

  bool operator==(const Manifest&) const = default;
};

struct Index {
  std::string media_type = std::string(media::oci_index);
  std::vector<Descriptor> manifests = {};
  std::map<std::string, std::string> annotations = {};
  std::optional<Descriptor> subject = {};
  std::string artifact_type = {};

  bool operator==(const Index&) const = default;
};

using Document = std::variant<Manifest, Index>;

// The largest document that is read.
inline constexpr size_t largest_document = 8 << 20;

// `media_type` is what the registry or the descriptor said (without parameters), or empty. A document that
// says something else, or that could be read as both kinds, is refused (CVE-2021-41190).
Document parse_document(std::string_view json, std::string_view media_type);
Manifest parse_manifest(std::string_view json, std::string_view media_type = {});
Index parse_index(std::string_view json, std::string_view media_type = {});

// One byte form: sorted keys, no blanks.
std::string to_json(const Manifest& manifest);
std::string to_json(const Index& index);

// The entry that fits the machine best; attestations are passed over. Throws with the list of what there is.
const Descriptor& choose(const Index& index, const Platform& machine);

// One image of one platform.
struct Image {
  Descriptor descriptor = {};  // of the manifest
  Manifest manifest = {};
  ImageConfig config = {};

  const Digest& digest() const { return descriptor.digest; }
  const Digest& id() const { return manifest.config.digest; }  // the image id that docker shows
};

// Layers and diff ids fit together, and every layer is one that can be unpacked; throws else.
void validate(const Image& image);

}  // namespace rayctl::oci
