#include "oci/dockerfile_words.h"

#include <cctype>

#include "base/json.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

}  // namespace

std::vector<std::string> split_blanks(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (char c : text) {
    if (!is_space(c)) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::vector<std::string> quoted_words(std::string_view text, char escape) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quote == 0 && is_space(c)) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
      continue;
    }
    word += c;
    if (c == escape && quote != '\'') {
      if (i + 1 < text.size()) word += text[++i];
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

namespace {

// docker's builder reads one JSON value and stops: `CMD ["x"] # why` works there. Other text after an array,
// such as that of `[ "$a" ] && b`, can only be meant for a shell.
std::string_view without_comment(std::string_view text) {
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      quoted = !quoted;
    else if (!quoted && text[i] == ']')
      return trim(text.substr(i + 1)).starts_with('#') ? text.substr(0, i + 1) : text;
  }
  return text;
}

}  // namespace

std::optional<std::vector<std::string>> json_words(std::string_view text, const Place& place) {
  text = trim(text);
  if (text.empty() || text.front() != '[') return std::nullopt;
  text = without_comment(text);
  std::optional<Json> array;
  try {
    array = Json::parse(text, "array");
  } catch (const Error&) {
    return std::nullopt;  // "[ -f x ] && y" is shell text
  }
  std::vector<std::string> words;
  for (const Json& item : array->items()) {
    if (!item.is_string())
      throw error_at(place, "a JSON array here may hold only strings: {}", printable(text));
    words.push_back(item.string());
  }
  return words;
}

std::vector<KeyValue> pairs(std::string_view text, char escape, const Place& place,
                            std::string_view keyword) {
  std::vector<std::string> words = quoted_words(text, escape);
  if (words.empty()) throw error_at(place, "{} needs NAME=VALUE", keyword);
  std::vector<KeyValue> result;
  if (words[0].find('=') == std::string::npos) {
    std::string_view rest = trim(text);
    size_t end = 0;
    while (end < rest.size() && !is_space(rest[end])) ++end;
    std::string_view value = trim(rest.substr(end));
    if (value.empty())
      throw error_at(place, "{} '{}' has no value: write NAME=VALUE", keyword, printable(words[0]));
    return {{std::string(rest.substr(0, end)), std::string(value)}};
  }
  for (const std::string& word : words) {
    size_t equals = word.find('=');
    if (equals == std::string::npos)
      throw error_at(place, "{}: '{}' is no NAME=VALUE (quote a value that has blanks)", keyword,
                     printable(word));
    if (equals == 0) throw error_at(place, "{}: '{}' has no name", keyword, printable(word));
    result.push_back({word.substr(0, equals), word.substr(equals + 1)});
  }
  return result;
}

Flags::Flags(const RawInstruction& instruction, const Place& place)
    : keyword_(instruction.keyword), place_(place) {
  for (const std::string& word : instruction.flags) {
    size_t equals = word.find('=');
    Flag flag{.name = word.substr(2, equals == std::string::npos ? equals : equals - 2)};
    if (equals != std::string::npos) flag.value = word.substr(equals + 1);
    flags_.push_back(std::move(flag));
  }
}

Flags::Flag* Flags::take(std::string_view name) {
  known_.emplace_back(name);
  Flag* found = nullptr;
  for (Flag& flag : flags_) {
    if (flag.name != name) continue;
    if (found) throw error_at(place_, "{}: --{} is given twice", keyword_, name);
    flag.taken = true;
    found = &flag;
  }
  return found;
}

std::optional<std::string> Flags::text(std::string_view name) {
  Flag* flag = take(name);
  if (!flag) return std::nullopt;
  if (!flag->value) throw error_at(place_, "{}: --{} needs a value: --{}=…", keyword_, name, name);
  return flag->value;
}

std::vector<std::string> Flags::texts(std::string_view name) {
  known_.emplace_back(name);
  std::vector<std::string> values;
  for (Flag& flag : flags_) {
    if (flag.name != name) continue;
    if (!flag.value) throw error_at(place_, "{}: --{} needs a value: --{}=…", keyword_, name, name);
    flag.taken = true;
    values.push_back(*flag.value);
  }
  return values;
}

std::optional<bool> Flags::boolean(std::string_view name) {
  Flag* flag = take(name);
  if (!flag) return std::nullopt;
  if (!flag->value || *flag->value == "true") return true;
  if (*flag->value == "false") return false;
  throw error_at(place_, "{}: --{} is true or false, not '{}'", keyword_, name, printable(*flag->value));
}

void Flags::finish() const {
  for (const Flag& flag : flags_) {
    if (flag.taken) continue;
    Error error = error_at(place_, "{} has no flag --{}", keyword_, printable(flag.name));
    if (std::string near = nearest(flag.name, known_); !near.empty()) error.hint("did you mean --{}?", near);
    throw error;
  }
}

}  // namespace rayctl::oci
