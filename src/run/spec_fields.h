// How the fields of the specification are read: every number in the range of its type, no NUL in a string.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace rayctl::run::fields {

// A string that ends where the kernel sees it end.
inline std::string text(const Json& value) {
  std::string found = value.string();
  if (found.find('\0') != std::string::npos) throw Error("{}: it holds a NUL byte", value.path());
  return found;
}

inline std::string text_or_empty(const Json& object, std::string_view key) {
  auto found = object.find(key);
  return found ? text(*found) : std::string();
}

inline std::vector<std::string> texts(const Json& object, std::string_view key) {
  std::vector<std::string> found;
  if (auto list = object.find(key))
    for (const Json& item : list->items()) found.push_back(text(item));
  return found;
}

inline std::string absolute_path(const Json& value) {
  std::string path = text(value);
  if (path.empty() || path[0] != '/') throw Error("{}: '{}' is not an absolute path", value.path(), path);
  return path;
}

template <class T>
T number(const Json& value) {
  if constexpr (std::is_signed_v<T>) {
    int64_t found = value.integer();
    if (found < std::numeric_limits<T>::min() || found > std::numeric_limits<T>::max())
      throw Error("{}: {} is out of range", value.path(), found);
    return static_cast<T>(found);
  } else {
    uint64_t found = value.size();
    if (found > std::numeric_limits<T>::max()) throw Error("{}: {} is out of range", value.path(), found);
    return static_cast<T>(found);
  }
}

template <class T>
std::optional<T> optional_number(const Json& object, std::string_view key) {
  auto found = object.find(key);
  if (!found) return std::nullopt;
  return number<T>(*found);
}

template <class T>
T number_or(const Json& object, std::string_view key, T fallback) {
  return optional_number<T>(object, key).value_or(fallback);
}

inline void refuse(const Json& object, std::string_view key, std::string_view reason) {
  if (auto found = object.find(key)) throw Error("{}: not supported: {}", found->path(), reason);
}

template <class F>
void each(const Json& object, std::string_view key, F&& f) {
  if (auto list = object.find(key))
    for (const Json& item : list->items()) f(item);
}

}  // namespace rayctl::run::fields
