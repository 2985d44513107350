// File name patterns of COPY, --exclude and .dockerignore.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::oci {

// A pattern of path segments: * and ? stay within a segment, [a-z] and [^a-z] are classes, \ takes the next
// byte as it is. With Kind::tree, a segment ** stands for any number of segments (docker's .dockerignore).
class Pattern {
 public:
  enum class Kind { path, tree };
  // Throws "…: bad pattern" for an open [ or a trailing \.
  Pattern(std::string_view text, Kind kind);
  bool matches(std::string_view path) const;  // the whole path, without leading or trailing '/'
  const std::string& text() const { return text_; }

 private:
  struct Token {
    enum class Kind { byte, any, run, tree, tree_slash, one_of, none_of };
    Kind kind;
    char byte = 0;
    std::vector<std::pair<unsigned char, unsigned char>> ranges = {};
  };
  static bool fits(const Token& token, char c);

  std::string text_;
  std::vector<Token> tokens_;
};

bool has_wildcard(std::string_view text);             // an unescaped * ? [
std::string unescape_pattern(std::string_view text);  // of a pattern without wildcards: its only match

// Lexical: no "", "." or inner ".."; "a/../b" is "b", ".." at the front of a relative path stays, at the root
// it goes.
std::string clean_path(std::string_view path);

}  // namespace rayctl::oci
