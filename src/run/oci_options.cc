#include "run/oci_options.h"

#include <algorithm>
#include <charconv>
#include <csignal>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::run::oci {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// The canonical name ("--bundle") when `word` is one of an entry's alternatives.
std::optional<std::string> match(const std::vector<std::string_view>& entries, std::string_view word) {
  for (std::string_view entry : entries) {
    auto names = split(entry, '|');
    for (std::string_view name : names) {
      // The flag package of Go, which engines are used to, takes "-bundle" for "--bundle".
      bool same = word == name || (name.starts_with("--") && word == name.substr(1));
      if (same) return std::string(names.back());
    }
  }
  return std::nullopt;
}

}  // namespace

Arguments::Arguments(const Grammar& grammar, std::string_view command,
                     const std::vector<std::string>& words) {
  bool options = true;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (!options || word.size() < 2 || word[0] != '-') {
      positionals_.emplace_back(word);
      if (grammar.command_follows) options = false;
      continue;
    }
    if (word == "--") {
      options = false;
      continue;
    }
    size_t equals = word.find('=');
    std::string_view name = word.substr(0, equals);
    if (auto flag = match(grammar.flags, name)) {
      std::string_view text = equals == std::string_view::npos ? "true" : word.substr(equals + 1);
      if (text != "true" && text != "false") throw UsageError("{}: '{}' takes no value", command, name);
      if (text == "true") values_[*flag].emplace_back("true");
      continue;
    }
    auto option = match(grammar.values, name);
    if (!option) throw UsageError("{}: unknown option '{}'", command, name);
    if (equals != std::string_view::npos) {
      values_[*option].emplace_back(word.substr(equals + 1));
    } else {
      if (i + 1 == words.size()) throw UsageError("{}: '{}' needs a value", command, name);
      values_[*option].push_back(words[++i]);
    }
  }
  if (positionals_.size() < grammar.least)
    throw UsageError("{}: {} missing", command,
                     positionals_.empty() ? "the container's id is" : "an argument is");
  if (positionals_.size() > grammar.most)
    throw UsageError("{}: unexpected argument '{}'", command, positionals_[grammar.most]);
}

std::string Arguments::value(std::string_view name, std::string fallback) const {
  auto found = values_.find(std::string(name));
  return found == values_.end() ? std::move(fallback) : found->second.back();
}

std::vector<std::string> Arguments::all(std::string_view name) const {
  auto found = values_.find(std::string(name));
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::optional<int64_t> Arguments::number(std::string_view name) const {
  auto found = values_.find(std::string(name));
  if (found == values_.end()) return std::nullopt;
  const std::string& text = found->second.back();
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw UsageError("'{}': '{}' is no whole number", name, text);
  return value;
}

std::optional<int64_t> Arguments::bytes(std::string_view name) const {
  auto found = values_.find(std::string(name));
  if (found == values_.end()) return std::nullopt;
  if (found->second.back() == "-1") return -1;
  uint64_t value = parse_size(found->second.back());
  if (value > INT64_MAX) throw UsageError("'{}': {} bytes are too many", name, value);
  return static_cast<int64_t>(value);
}

int parse_signal(std::string_view text) {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) {
    if (number < 1 || number > SIGRTMAX) throw UsageError("unknown signal '{}'", text);
    return number;
  }
  std::string name(text);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (const auto& [prefix, base, sign] : {std::tuple{"RTMIN", SIGRTMIN, 1}, {"RTMAX", SIGRTMAX, -1}}) {
    if (!name.starts_with(prefix)) continue;
    std::string rest = name.substr(5);
    if (rest.empty()) return base;
    int offset = 0;
    auto [stop, wrong] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), offset);
    if (rest[0] == (sign > 0 ? '+' : '-') && wrong == std::errc() && stop == rest.data() + rest.size() &&
        offset >= 0 && offset <= SIGRTMAX - SIGRTMIN)
      return base + sign * offset;
  }
  for (int signal = 1; signal < SIGRTMIN; ++signal)
    if (const char* known = sigabbrev_np(signal); known && name == known) return signal;
  throw UsageError("unknown signal '{}'", text);
}

void check_id(const std::string& id) {
  auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_+-.").find(c) != std::string_view::npos;
  };
  if (id.empty() || id.size() > 200 || id[0] == '.' || !std::all_of(id.begin(), id.end(), allowed))
    throw UsageError(
        "cannot use container id '{}': it may have letters, digits and _ + - . and begins with no dot", id);
}

}  // namespace rayctl::run::oci
