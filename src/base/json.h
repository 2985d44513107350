// A checked, read-only view of a JSON document: every error names the path, and no number changes its sign
// silently.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rayctl {

// One value within a parsed document; cheap to copy, keeps the document alive.
class Json {
 public:
  // Parses `text`; `name` begins every path in errors. Limits: `max_depth` nested containers; duplicate keys,
  // invalid UTF-8 and trailing bytes are errors.
  static Json parse(std::string_view text, std::string name, int max_depth = 64);

  bool is_null() const;
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_number() const;

  bool has(std::string_view key) const;                  // false also when the member is null
  Json at(std::string_view key) const;                   // the member; an error when it is missing or null
  std::optional<Json> find(std::string_view key) const;  // empty when it is missing or null
  std::vector<Json> items() const;                       // an array's elements
  std::vector<std::pair<std::string, Json>> members() const;

  std::string string() const;
  bool boolean() const;
  uint64_t size() const;  // an integer >= 0
  int64_t integer() const;
  double number() const;
  std::vector<std::string> strings() const;               // an array of strings
  std::map<std::string, std::string> string_map() const;  // an object of strings

  std::string string_or(std::string_view key, std::string fallback) const;
  uint64_t size_or(std::string_view key, uint64_t fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::vector<std::string> strings_or_empty(std::string_view key) const;

  // An error for each member that isn't listed: configuration keys are never ignored.
  void only(std::initializer_list<std::string_view> keys) const;

  const std::string& path() const { return path_; }
  const nlohmann::json& raw() const { return *value_; }

 private:
  Json(std::shared_ptr<const nlohmann::json> root, const nlohmann::json* value, std::string path)
      : root_(std::move(root)), value_(value), path_(std::move(path)) {}
  [[noreturn]] void mismatch(std::string_view expected) const;

  std::shared_ptr<const nlohmann::json> root_;
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace rayctl
