#include "oci/expand.h"

#include <cctype>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr size_t longest_result = 1 << 20;
constexpr int deepest_nesting = 64;

enum class Quotes { remove, keep };

bool is_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

// Text and the words it splits into.
struct Words {
  std::string text;
  std::vector<std::string> words;
  std::string word;

  void literal(std::string_view s) {
    text += s;
    word += s;
    if (text.size() > longest_result) throw Error("the expanded text is longer than 1 MiB");
  }
  void splittable(std::string_view s) {
    for (char c : s) {
      if (is_space(c)) {
        text += c;
        end_word();
      } else {
        literal({&c, 1});
      }
    }
  }
  void end_word() {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  }
};

// One element of a pattern: a byte as it is, any byte (?), or any run (*).
struct Item {
  enum class Kind { byte, any, run };
  Kind kind;
  char byte = 0;
};

std::vector<Item> parse_pattern(std::string_view text) {
  std::vector<Item> items;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '*') {
      items.push_back({Item::Kind::run});
    } else if (c == '?') {
      items.push_back({Item::Kind::any});
    } else if (c == '\\' && i + 1 < text.size()) {
      items.push_back({Item::Kind::byte, text[++i]});
    } else {
      items.push_back({Item::Kind::byte, c});
    }
  }
  return items;
}

// reach[n] tells whether the pattern, from the front of `text`, can match its first n bytes.
std::vector<bool> prefixes(const std::vector<Item>& pattern, std::string_view text) {
  std::vector<bool> reach(text.size() + 1);
  reach[0] = true;
  for (const Item& item : pattern) {
    if (item.kind == Item::Kind::run) {
      for (size_t n = 1; n <= text.size(); ++n) reach[n] = reach[n] || reach[n - 1];
      continue;
    }
    for (size_t n = text.size(); n > 0; --n)
      reach[n] = reach[n - 1] && (item.kind == Item::Kind::any || item.byte == text[n - 1]);
    reach[0] = false;
  }
  return reach;
}

enum class Extent { shortest, longest };

std::optional<size_t> match_front(const std::vector<Item>& pattern, std::string_view text, Extent extent) {
  std::vector<bool> reach = prefixes(pattern, text);
  std::optional<size_t> found;
  for (size_t n = 0; n <= text.size(); ++n) {
    if (!reach[n]) continue;
    found = n;
    if (extent == Extent::shortest) break;
  }
  return found;
}

std::string trim_front(std::string_view value, std::string_view pattern, Extent extent) {
  auto length = match_front(parse_pattern(pattern), value, extent);
  return std::string(value.substr(length.value_or(0)));
}

std::string trim_back(std::string value, std::string_view pattern, Extent extent) {
  std::vector<Item> items = parse_pattern(pattern);
  std::string reversed(value.rbegin(), value.rend());
  std::vector<Item> backwards(items.rbegin(), items.rend());
  auto length = match_front(backwards, reversed, extent);
  value.resize(value.size() - length.value_or(0));
  return value;
}

enum class Replace { first, all };

std::string replace(std::string_view value, std::string_view pattern, std::string_view with, Replace which) {
  std::vector<Item> items = parse_pattern(pattern);
  if (items.empty()) return std::string(value);
  std::string result;
  size_t position = 0;
  while (position < value.size()) {
    auto length = match_front(items, value.substr(position), Extent::longest);
    if (!length || *length == 0) {
      result += value[position++];
      continue;
    }
    result += with;
    if (result.size() > longest_result) throw Error("the expanded text is longer than 1 MiB");
    position += *length;
    if (which == Replace::first) break;
  }
  return result.append(value.substr(position));
}

class Expander {
 public:
  Expander(std::string_view text, const Lookup& lookup, char escape, Quotes quotes)
      : text_(text), lookup_(lookup), escape_(escape), quotes_(quotes) {}

  Words run() {
    Words out;
    expand_until('\0', Escapes::remove, out);
    out.end_word();
    return out;
  }

 private:
  enum class Escapes { remove, keep };

  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return text_[position_]; }
  char next() { return text_[position_++]; }

  // Up to an unquoted `stop` (which is taken), or to the end when there is none.
  void expand_until(char stop, Escapes escapes, Words& out) {
    if (++depth_ > deepest_nesting) throw Error("'{}' nests too deep", shown());
    while (!at_end()) {
      char c = peek();
      if (stop != '\0' && c == stop) {
        ++position_;
        --depth_;
        return;
      }
      if (c == '$') {
        out.splittable(variable());
      } else if (c == '\'' && quotes_ == Quotes::remove) {
        single_quoted(out);
      } else if (c == '"' && quotes_ == Quotes::remove) {
        double_quoted(escapes, out);
      } else if (c == escape_) {
        ++position_;
        if (escapes == Escapes::keep) out.literal({&c, 1});
        if (!at_end()) {
          char following = next();
          out.literal({&following, 1});
        }
      } else {
        ++position_;
        out.splittable({&c, 1});
      }
    }
    if (stop != '\0') throw Error("'{}' lacks a closing '{}'", shown(), stop);
    --depth_;
  }

  void single_quoted(Words& out) {
    size_t end = text_.find('\'', position_ + 1);
    if (end == std::string_view::npos) throw Error("'{}' lacks a closing single quote", shown());
    out.literal(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
  }

  void double_quoted(Escapes escapes, Words& out) {
    ++position_;
    while (!at_end() && peek() != '"') {
      char c = peek();
      if (c == '$') {
        out.literal(variable());
        continue;
      }
      ++position_;
      if (c == escape_) {
        if (at_end()) break;
        char following = peek();
        bool special = following == '"' || following == '$' || following == escape_;
        if (escapes == Escapes::keep && special) out.literal({&c, 1});
        if (special) c = next();
      }
      out.literal({&c, 1});
    }
    if (at_end()) throw Error("'{}' lacks a closing double quote", shown());
    ++position_;
  }

  std::string name() {
    if (at_end()) return {};
    size_t start = position_;
    if (std::isdigit(static_cast<unsigned char>(peek()))) {
      while (!at_end() && std::isdigit(static_cast<unsigned char>(peek()))) ++position_;
    } else if (std::string_view("@*#?-$!").find(peek()) != std::string_view::npos) {
      ++position_;
    } else {
      while (!at_end() && is_name(peek())) ++position_;
    }
    return std::string(text_.substr(start, position_ - start));
  }

  std::string variable() {
    ++position_;
    if (at_end() || peek() != '{') {
      std::string variable_name = name();
      if (variable_name.empty()) return "$";
      return lookup_(variable_name).value_or("");
    }
    ++position_;
    if (at_end()) throw Error("'{}' lacks a closing '}}'", shown());
    std::string variable_name = name();
    if (variable_name.empty()) throw Error("'{}' holds a bad substitution", shown());
    if (at_end()) throw Error("'{}' lacks a closing '}}'", shown());
    char c = next();
    std::optional<std::string> value = lookup_(variable_name);
    if (c == '}') return value.value_or("");
    if (c == '/') return replaced(value.value_or(""));
    bool colon = c == ':';
    if (colon) {
      if (at_end()) throw Error("'{}' lacks a closing '}}'", shown());
      c = next();
    }
    if (std::string_view("-+?").find(c) == std::string_view::npos && (colon || (c != '#' && c != '%')))
      throw Error("'{}': ${{{}{}{}…}} is no substitution that a Dockerfile knows", shown(), variable_name,
                  colon ? ":" : "", printable({&c, 1}));
    bool pattern = c == '#' || c == '%';
    Words word;
    expand_until('}', pattern ? Escapes::keep : Escapes::remove, word);
    bool absent = !value || (colon && value->empty());
    if (c == '-') return absent ? word.text : *value;
    if (c == '+') return absent ? "" : word.text;
    if (c == '?') {
      if (!absent) return *value;
      const char* state = value ? "is not allowed to be empty" : "is not allowed to be unset";
      throw Error("{}: {}", variable_name, word.text.empty() ? state : printable(word.text));
    }
    std::string_view what = word.text;
    Extent extent = Extent::shortest;
    if (!what.empty() && what.front() == c) {
      extent = Extent::longest;
      what.remove_prefix(1);
    }
    return c == '#' ? trim_front(value.value_or(""), what, extent)
                    : trim_back(value.value_or(""), what, extent);
  }

  std::string replaced(std::string_view value) {
    Replace which = Replace::first;
    if (!at_end() && peek() == '/') {
      which = Replace::all;
      ++position_;
    }
    Words pattern, with;
    expand_until('/', Escapes::keep, pattern);
    expand_until('}', Escapes::remove, with);
    return replace(value, pattern.text, with.text, which);
  }

  std::string shown() const { return printable(text_.substr(0, 200)); }

  std::string_view text_;
  const Lookup& lookup_;
  char escape_;
  Quotes quotes_;
  size_t position_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string expand(std::string_view text, const Lookup& lookup, char escape) {
  return Expander(text, lookup, escape, Quotes::remove).run().text;
}

std::vector<std::string> expand_words(std::string_view text, const Lookup& lookup, char escape) {
  return Expander(text, lookup, escape, Quotes::remove).run().words;
}

std::string expand_body(std::string_view text, const Lookup& lookup) {
  return Expander(text, lookup, '\\', Quotes::keep).run().text;
}

}  // namespace rayctl::oci
