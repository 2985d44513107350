#include "base/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace rayctl {

namespace {

// Sees each key and each nesting level while the document is built, and refuses what that would hide. (Not by
// the parser's callback: with one, an array of n objects takes n * n steps.)
class Builder : public nlohmann::detail::json_sax_dom_parser<nlohmann::json> {
  using Base = nlohmann::detail::json_sax_dom_parser<nlohmann::json>;

 public:
  Builder(nlohmann::json& root, const std::string& name, int max_depth)
      : Base(root), name_(name), max_depth_(max_depth) {}

  bool start_object(size_t size) {
    deeper();
    keys_.emplace_back();
    return Base::start_object(size);
  }
  bool end_object() {
    --depth_;
    keys_.pop_back();
    return Base::end_object();
  }
  bool start_array(size_t size) {
    deeper();
    return Base::start_array(size);
  }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(std::string& key) {
    if (!keys_.back().insert(key).second)
      throw Error("cannot parse '{}': key '{}' appears twice", name_, key);
    return Base::key(key);
  }

 private:
  void deeper() {
    if (depth_++ >= max_depth_)
      throw Error("cannot parse '{}': nested deeper than {} levels", name_, max_depth_);
  }

  const std::string& name_;
  int max_depth_, depth_ = 0;
  std::vector<std::set<std::string>> keys_;
};

}  // namespace

Json Json::parse(std::string_view text, std::string name, int max_depth) {
  try {
    auto root = std::make_shared<nlohmann::json>();
    Builder builder(*root, name, max_depth);
    nlohmann::json::sax_parse(text, &builder);
    const nlohmann::json* value = root.get();
    return Json{std::move(root), value, std::move(name)};
  } catch (const nlohmann::json::exception& e) {
    // parse_error, or out_of_range for a number beyond a double. what() reads
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": keep the part for people.
    std::string_view what = e.what();
    size_t start = what.find("] ");
    throw Error("cannot parse '{}': {}", name,
                start == std::string_view::npos ? what : what.substr(start + 2));
  }
}

void Json::mismatch(std::string_view expected) const {
  throw Error("{}: expected {}, found {}", path_, expected, value_->type_name());
}

bool Json::is_null() const {
  return value_->is_null();
}
bool Json::is_object() const {
  return value_->is_object();
}
bool Json::is_array() const {
  return value_->is_array();
}
bool Json::is_string() const {
  return value_->is_string();
}
bool Json::is_number() const {
  return value_->is_number();
}

std::optional<Json> Json::find(std::string_view key) const {
  if (!value_->is_object()) mismatch("an object");
  auto it = value_->find(std::string(key));
  if (it == value_->end() || it->is_null()) return std::nullopt;
  return Json{root_, &*it, fmt::format("{}.{}", path_, key)};
}

bool Json::has(std::string_view key) const {
  return find(key).has_value();
}

Json Json::at(std::string_view key) const {
  if (auto found = find(key)) return *found;
  throw Error("{}.{}: missing", path_, key);
}

std::vector<Json> Json::items() const {
  if (!value_->is_array()) mismatch("an array");
  std::vector<Json> found;
  for (size_t i = 0; i < value_->size(); ++i)
    found.push_back(Json{root_, &(*value_)[i], fmt::format("{}[{}]", path_, i)});
  return found;
}

std::vector<std::pair<std::string, Json>> Json::members() const {
  if (!value_->is_object()) mismatch("an object");
  std::vector<std::pair<std::string, Json>> found;
  for (const auto& [key, value] : value_->items())
    found.emplace_back(key, Json{root_, &value, fmt::format("{}.{}", path_, key)});
  return found;
}

std::string Json::string() const {
  if (!value_->is_string()) mismatch("a string");
  return value_->get<std::string>();
}

bool Json::boolean() const {
  if (!value_->is_boolean()) mismatch("true or false");
  return value_->get<bool>();
}

uint64_t Json::size() const {
  if (!value_->is_number_unsigned()) mismatch("a whole number >= 0");
  return value_->get<uint64_t>();
}

int64_t Json::integer() const {
  if (!value_->is_number_integer()) mismatch("a whole number");
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    throw Error("{}: {} is too large", path_, value_->get<uint64_t>());
  return value_->get<int64_t>();
}

double Json::number() const {
  if (!value_->is_number()) mismatch("a number");
  return value_->get<double>();
}

std::vector<std::string> Json::strings() const {
  std::vector<std::string> found;
  for (const Json& item : items()) found.push_back(item.string());
  return found;
}

std::map<std::string, std::string> Json::string_map() const {
  std::map<std::string, std::string> found;
  for (const auto& [key, value] : members()) found.emplace(key, value.string());
  return found;
}

std::string Json::string_or(std::string_view key, std::string fallback) const {
  auto found = find(key);
  return found ? found->string() : std::move(fallback);
}

uint64_t Json::size_or(std::string_view key, uint64_t fallback) const {
  auto found = find(key);
  return found ? found->size() : fallback;
}

bool Json::boolean_or(std::string_view key, bool fallback) const {
  auto found = find(key);
  return found ? found->boolean() : fallback;
}

std::vector<std::string> Json::strings_or_empty(std::string_view key) const {
  auto found = find(key);
  return found ? found->strings() : std::vector<std::string>{};
}

void Json::only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : members())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      throw Error("{}: unknown key '{}'", path_, key);
}

}  // namespace rayctl
