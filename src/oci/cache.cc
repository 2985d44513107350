#include "oci/cache.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

namespace rayctl::oci {

namespace {

constexpr const char* key_version = "rayctl build key 1";

}  // namespace

BuildCache::BuildCache(const std::string& state_dir) : directory_(join(state_dir, "build")) {
  rayctl::make_directories(directory_, 0700);
}

std::string BuildCache::path(const Digest& key) const {
  return join(directory_, key.hex() + ".json");
}

std::optional<CacheRecord> BuildCache::read(const Digest& key) const {
  auto text = read_file_if_exists(path(key));
  if (!text) return std::nullopt;
  try {
    Json json = Json::parse(*text, "build record");
    CacheRecord record{.created = json.at("created").string()};
    if (auto diff_id = json.find("diffId")) record.diff_id = Digest::parse(diff_id->string());
    if (auto blobs = json.find("blobs"))
      for (const auto& [compression, blob] : blobs->members())
        record.blobs[compression] = {.media_type = blob.at("mediaType").string(),
                                     .digest = Digest::parse(blob.at("digest").string()),
                                     .size = blob.at("size").size()};
    return record;
  } catch (const Error& error) {
    debug("ignoring {}: {}", path(key), error.message());
    return std::nullopt;
  }
}

std::optional<CacheRecord> BuildCache::find(const Digest& key, const Digest& parent, const Store& store,
                                            const Layers& layers) const {
  auto record = read(key);
  if (!record || !record->diff_id) return record;
  std::erase_if(record->blobs, [&](const auto& blob) { return !store.has(blob.second); });
  if (record->blobs.empty() || !layers.has(chain_id(parent, record->diff_id))) return std::nullopt;
  return record;
}

std::optional<CacheRecord> BuildCache::find_image(const Digest& key) const {
  return read(key);
}

void BuildCache::put(const Digest& key, const CacheRecord& record) {
  nlohmann::json json = {{"created", record.created}};
  if (record.diff_id) json["diffId"] = record.diff_id.string();
  for (const auto& [compression, blob] : record.blobs)
    json["blobs"][compression] = {
        {"mediaType", blob.media_type}, {"digest", blob.digest.string()}, {"size", blob.size}};
  replace_file(path(key), json.dump(), 0600);
}

CacheKey::CacheKey(std::string_view kind) {
  hasher_.add(key_version);
  add("kind", kind);
}

CacheKey& CacheKey::add(std::string_view name, std::string_view value) {
  hasher_.add(fmt::format("\n{}={}:", name, value.size()));
  hasher_.add(value);
  return *this;
}

CacheKey& CacheKey::add(std::string_view name, const std::vector<std::string>& values) {
  add(name, std::to_string(values.size()));
  for (const std::string& value : values) add("", value);
  return *this;
}

}  // namespace rayctl::oci
