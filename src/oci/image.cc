#include "oci/image.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::oci {

namespace media {

bool is_index(std::string_view type) {
  return type == oci_index || type == docker_index;
}
bool is_manifest(std::string_view type) {
  return type == oci_manifest || type == docker_manifest;
}
bool is_config(std::string_view type) {
  return type == oci_config || type == docker_config;
}
bool is_layer(std::string_view type) {
  return type.starts_with("application/vnd.oci.image.layer.") ||
         type.starts_with("application/vnd.docker.image.rootfs.");
}
bool is_foreign(std::string_view type) {
  return type.starts_with("application/vnd.oci.image.layer.nondistributable.") ||
         type.starts_with("application/vnd.docker.image.rootfs.foreign.");
}

}  // namespace media

namespace {

constexpr size_t most_descriptors = 4096;

Platform parse_platform_object(const Json& json) {
  return {.os = json.string_or("os", ""),
          .architecture = json.string_or("architecture", ""),
          .variant = json.string_or("variant", ""),
          .os_version = json.string_or("os.version", ""),
          .os_features = json.strings_or_empty("os.features")};
}

Descriptor parse_descriptor(const Json& json) {
  Descriptor d;
  d.media_type = json.at("mediaType").string();
  Json digest = json.at("digest");
  if (!Digest::is_digest(digest.string()))
    throw Error("{}: '{}' is not a digest", digest.path(), printable(digest.string().substr(0, 160)));
  d.digest = Digest::parse(digest.string());
  Json size = json.at("size");
  d.size = size.size();
  if (d.size > static_cast<uint64_t>(INT64_MAX)) throw Error("{}: {} is too large", size.path(), d.size);
  if (auto found = json.find("annotations")) d.annotations = found->string_map();
  if (auto found = json.find("platform")) d.platform = parse_platform_object(*found);
  d.artifact_type = json.string_or("artifactType", "");
  d.urls = json.strings_or_empty("urls");
  return d;
}

std::vector<Descriptor> parse_descriptors(const Json& json) {
  std::vector<Json> items = json.items();
  if (items.size() > most_descriptors)
    throw Error("{}: {} entries, more than {}", json.path(), items.size(), most_descriptors);
  std::vector<Descriptor> found;
  for (const Json& item : items) found.push_back(parse_descriptor(item));
  return found;
}

// Which of the two a document is, by its keys; a document that could pass for both is an attack.
enum class Kind { manifest, index };

Kind kind_of(const Json& json, std::string_view media_type) {
  if (!json.is_object()) throw Error("{}: expected an object", json.path());
  bool manifest = json.has("config") || json.has("layers");
  bool index = json.has("manifests");
  if (json.has("fsLayers") || (json.has("schemaVersion") && json.size_or("schemaVersion", 2) == 1))
    throw Error("{}: docker schema 1 is not supported: push the image again with a current tool",
                json.path());
  if (json.size_or("schemaVersion", 2) != 2)
    throw Error("{}.schemaVersion: expected 2, found {}", json.path(), json.size_or("schemaVersion", 2));
  if (manifest && index)
    throw Error("{}: it has the keys of a manifest and of an index: refused as ambiguous", json.path());
  if (!manifest && !index) throw Error("{}: neither a manifest nor an index", json.path());

  std::string own = json.string_or("mediaType", "");
  if (!own.empty() && !media_type.empty() && own != media_type)
    throw Error("{}.mediaType: '{}' contradicts the content type '{}'", json.path(), printable(own),
                printable(media_type));
  std::string_view type = own.empty() ? media_type : std::string_view(own);
  if (!type.empty() && !(manifest ? media::is_manifest(type) : media::is_index(type)))
    throw Error("{}: media type '{}' does not fit {}", json.path(), printable(type),
                manifest ? "a manifest" : "an index");
  return manifest ? Kind::manifest : Kind::index;
}

std::string type_of(const Json& json, std::string_view media_type, std::string_view fallback) {
  if (auto own = json.find("mediaType")) return own->string();
  return std::string(media_type.empty() ? fallback : media_type);
}

Manifest read_manifest(const Json& json, std::string_view media_type) {
  Manifest m;
  m.media_type = type_of(json, media_type, media::oci_manifest);
  m.config = parse_descriptor(json.at("config"));
  m.layers = parse_descriptors(json.at("layers"));
  if (auto found = json.find("annotations")) m.annotations = found->string_map();
  if (auto found = json.find("subject")) m.subject = parse_descriptor(*found);
  m.artifact_type = json.string_or("artifactType", "");
  return m;
}

Index read_index(const Json& json, std::string_view media_type) {
  Index i;
  i.media_type = type_of(json, media_type, media::oci_index);
  i.manifests = parse_descriptors(json.at("manifests"));
  if (auto found = json.find("annotations")) i.annotations = found->string_map();
  if (auto found = json.find("subject")) i.subject = parse_descriptor(*found);
  i.artifact_type = json.string_or("artifactType", "");
  return i;
}

using Writer = nlohmann::json;

template <class T>
void put(Writer& object, const char* key, const T& value) {
  if (!value.empty()) object[key] = value;
}

Writer to_writer(const Descriptor& d) {
  Writer json{{"mediaType", d.media_type}, {"digest", d.digest.string()}, {"size", d.size}};
  put(json, "annotations", d.annotations);
  put(json, "artifactType", d.artifact_type);
  put(json, "urls", d.urls);
  if (d.platform) {
    Writer platform{{"os", d.platform->os}, {"architecture", d.platform->architecture}};
    put(platform, "variant", d.platform->variant);
    put(platform, "os.version", d.platform->os_version);
    put(platform, "os.features", d.platform->os_features);
    json["platform"] = platform;
  }
  return json;
}

template <class T>
Writer common(const T& document) {
  Writer json{{"schemaVersion", 2}, {"mediaType", document.media_type}};
  put(json, "annotations", document.annotations);
  put(json, "artifactType", document.artifact_type);
  if (document.subject) json["subject"] = to_writer(*document.subject);
  return json;
}

bool is_attestation(const Descriptor& d) {
  return (d.platform && (d.platform->os == "unknown" || d.platform->architecture == "unknown")) ||
         d.annotations.contains("vnd.docker.reference.type");
}

}  // namespace

Document parse_document(std::string_view text, std::string_view media_type) {
  if (text.size() > largest_document)
    throw Error("manifest: {} bytes, more than {}", text.size(), largest_document);
  Json json = Json::parse(text, "manifest", 32);
  if (kind_of(json, media_type) == Kind::manifest) return read_manifest(json, media_type);
  return read_index(json, media_type);
}

Manifest parse_manifest(std::string_view text, std::string_view media_type) {
  Document document = parse_document(text, media_type);
  if (auto* manifest = std::get_if<Manifest>(&document)) return std::move(*manifest);
  throw Error("manifest: expected a manifest, found an index");
}

Index parse_index(std::string_view text, std::string_view media_type) {
  Document document = parse_document(text, media_type);
  if (auto* index = std::get_if<Index>(&document)) return std::move(*index);
  throw Error("index: expected an index, found a manifest");
}

std::string to_json(const Manifest& manifest) {
  Writer json = common(manifest);
  json["config"] = to_writer(manifest.config);
  json["layers"] = Writer::array();
  for (const Descriptor& d : manifest.layers) json["layers"].push_back(to_writer(d));
  return json.dump();
}

std::string to_json(const Index& index) {
  Writer json = common(index);
  json["manifests"] = Writer::array();
  for (const Descriptor& d : index.manifests) json["manifests"].push_back(to_writer(d));
  return json.dump();
}

const Descriptor& choose(const Index& index, const Platform& machine) {
  const Descriptor* best = nullptr;
  int best_fitness = 0;
  std::vector<const Descriptor*> candidates;
  for (const Descriptor& d : index.manifests) {
    if (is_attestation(d) || !(media::is_manifest(d.media_type) || media::is_index(d.media_type))) continue;
    candidates.push_back(&d);
    int f = d.platform ? fitness(machine, *d.platform) : 0;
    if (f > best_fitness) {
      best = &d;
      best_fitness = f;
    }
  }
  if (best) return *best;
  // One entry without a platform leaves nothing to choose: its config says what it is.
  if (candidates.size() == 1 && !candidates.front()->platform) return *candidates.front();
  std::string there;
  for (const Descriptor* d : candidates)
    there += (there.empty() ? "" : ", ") + (d->platform ? printable(to_string(*d->platform)) : "unnamed");
  throw Error("no image for {}: there is {}", to_string(machine), there.empty() ? "none at all" : there);
}

void validate(const Image& image) {
  const auto& layers = image.manifest.layers;
  if (!media::is_config(image.manifest.config.media_type))
    throw Error("it is not a container image: its config is of type '{}'",
                printable(image.manifest.config.media_type));
  for (const Descriptor& layer : layers)
    if (!media::is_layer(layer.media_type))
      throw Error("it is not a container image: layer {} is of type '{}'", layer.digest.string(),
                  printable(layer.media_type));
  if (layers.size() != image.config.diff_ids.size())
    throw Error("its manifest has {} layers and its config {} diff ids", layers.size(),
                image.config.diff_ids.size());
}

}  // namespace rayctl::oci
