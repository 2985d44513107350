// What earlier builds made: records below state_dir/build, found by a key that covers all that can change a
// result.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oci/digest.h"
#include "oci/image.h"
#include "oci/layers.h"
#include "oci/store.h"

namespace rayctl::oci {

// A step's layer, or a finished image (which has no diff id).
struct CacheRecord {
  std::string created = {};                      // RFC 3339: when the step ran
  Digest diff_id = {};                           // empty: the step changed no file
  std::map<std::string, Descriptor> blobs = {};  // by compression
};

// Pulled images are never candidates (CVE-2024-24557): a record is written only by a build on this machine.
class BuildCache {
 public:
  explicit BuildCache(const std::string& state_dir);

  // The record, unless its blobs or its unpacked layer on top of `parent` are gone.
  std::optional<CacheRecord> find(const Digest& key, const Digest& parent, const Store& store,
                                  const Layers& layers) const;
  std::optional<CacheRecord> find_image(const Digest& key) const;
  void put(const Digest& key, const CacheRecord& record);
  const std::string& directory() const { return directory_; }

 private:
  std::string path(const Digest& key) const;
  std::optional<CacheRecord> read(const Digest& key) const;

  std::string directory_;
};

// A key in the making: named values, in an order of their own, each with its length.
class CacheKey {
 public:
  explicit CacheKey(std::string_view kind);
  CacheKey& add(std::string_view name, std::string_view value);
  CacheKey& add(std::string_view name, const std::vector<std::string>& values);
  Digest finish() { return hasher_.finish(); }

 private:
  Hasher hasher_;
};

}  // namespace rayctl::oci
