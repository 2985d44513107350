#include "oci/pattern.h"

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

[[noreturn]] void bad(std::string_view text, std::string_view why) {
  throw Error("bad pattern '{}': {}", printable(text), why);
}

}  // namespace

Pattern::Pattern(std::string_view text, Kind kind) : text_(text) {
  if (text.size() > 4096) bad(text.substr(0, 64), "it is longer than 4096 bytes");
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '*' && kind == Kind::tree && i + 1 < text.size() && text[i + 1] == '*') {
      ++i;
      if (i + 1 < text.size() && text[i + 1] == '/') ++i;
      // docker's matcher takes "**x", at the front and with no other wildcard, as "ends with x"
      bool suffix = i == 1 && text.find_first_of("*?[]\\", 2) == std::string_view::npos && text[i] != '/';
      bool last = i + 1 == text.size();
      tokens_.push_back({last || suffix ? Token::Kind::tree : Token::Kind::tree_slash});
    } else if (c == '*') {
      tokens_.push_back({Token::Kind::run});
    } else if (c == '?') {
      tokens_.push_back({Token::Kind::any});
    } else if (c == '\\') {
      if (++i == text.size()) bad(text, "it ends with a '\\'");
      tokens_.push_back({Token::Kind::byte, text[i]});
    } else if (c == '[') {
      Token token{Token::Kind::one_of};
      if (++i < text.size() && text[i] == '^') {
        token.kind = Token::Kind::none_of;
        ++i;
      }
      auto member = [&]() {
        if (i < text.size() && text[i] == '\\')
          ++i;
        else if (i < text.size() && (text[i] == ']' || text[i] == '-'))
          bad(text, "a class holds a bare ']' or '-'");
        if (i >= text.size()) bad(text, "a '[' isn't closed");
        return static_cast<unsigned char>(text[i++]);
      };
      while (i >= text.size() || text[i] != ']' || token.ranges.empty()) {
        unsigned char first = member(), last = first;
        if (i + 1 < text.size() && text[i] == '-') {
          ++i;
          last = member();
        }
        if (last < first) bad(text, "a range runs backwards");
        token.ranges.emplace_back(first, last);
      }
      tokens_.push_back(std::move(token));
    } else {
      tokens_.push_back({Token::Kind::byte, c});
    }
  }
}

bool Pattern::fits(const Token& token, char c) {
  switch (token.kind) {
    case Token::Kind::byte:
      return token.byte == c;
    case Token::Kind::any:
    case Token::Kind::run:
      return c != '/';
    case Token::Kind::tree:
    case Token::Kind::tree_slash:
      return true;
    default:
      break;
  }
  if (c == '/') return false;
  auto byte = static_cast<unsigned char>(c);
  bool inside = false;
  for (auto [first, last] : token.ranges) inside = inside || (first <= byte && byte <= last);
  return inside == (token.kind == Token::Kind::one_of);
}

bool Pattern::matches(std::string_view path) const {
  // reach[n]: the tokens so far can match the first n bytes; linear in tokens x bytes whatever the pattern.
  std::vector<bool> reach(path.size() + 1), after(path.size() + 1);
  reach[0] = true;
  for (const Token& token : tokens_) {
    bool many = token.kind == Token::Kind::run || token.kind == Token::Kind::tree;
    bool open = false;  // of tree_slash: it began somewhere before
    for (size_t n = 0; n <= path.size(); ++n) {
      if (many) {
        after[n] = reach[n] || (n > 0 && after[n - 1] && fits(token, path[n - 1]));
      } else if (token.kind == Token::Kind::tree_slash) {  // nothing, or anything that ends with a '/'
        after[n] = reach[n] || (open && path[n - 1] == '/');
        open = open || reach[n];
      } else {
        after[n] = n > 0 && reach[n - 1] && fits(token, path[n - 1]);
      }
    }
    reach.swap(after);
  }
  return reach[path.size()];
}

bool has_wildcard(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '*' || text[i] == '?' || text[i] == '[')
      return true;
  }
  return false;
}

std::string unescape_pattern(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain += text[i];
  }
  return plain;
}

std::string clean_path(std::string_view path) {
  bool rooted = !path.empty() && path.front() == '/';
  std::vector<std::string> kept;
  for (std::string& part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..")
      kept.push_back(std::move(part));
    else if (!kept.empty() && kept.back() != "..")
      kept.pop_back();
    else if (!rooted)
      kept.push_back(std::move(part));
  }
  std::string result = rooted ? "/" : "";
  for (size_t i = 0; i < kept.size(); ++i) result.append(i ? "/" : "").append(kept[i]);
  return result.empty() ? "." : result;
}

}  // namespace rayctl::oci
