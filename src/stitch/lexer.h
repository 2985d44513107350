// Words of a spec, by the rules of Go's text/scanner as 2016's Stitch used them.
#pragma once

#include <cstdint>
#include <string_view>

#include "stitch/source.h"

namespace rayctl::stitch {

struct Token {
  enum class Kind { name, integer, real, string, open, close, end };
  Kind kind = Kind::end;
  // A string's is what stands between its quotes: a backslash keeps a quote from ending it and stays in the
  // text.
  std::string_view text = {};
  uint32_t line = 1, column = 1;
};

// Comments (`//`, `/* */`) and white space are skipped. Names hold dots (`strings.Join`); each of `+ - / % *
// = < > !` is a name by itself, so `-5` is two words. There are no negative numbers, raw strings or
// characters.
class Lexer {
 public:
  explicit Lexer(const Source& source);  // must outlive the lexer and its tokens
  Token next();                          // a SpecError for what is no word

 private:
  char peek(size_t ahead = 0) const;
  void advance();
  void skip_blanks();
  Token name(Token token);
  Token number(Token token);
  Token string(Token token);
  [[noreturn]] void fail(const Token& at, std::string_view message) const;

  const Source& source_;
  std::string_view text_;
  size_t at_ = 0;
  uint32_t line_ = 1, column_ = 1;
};

}  // namespace rayctl::stitch
