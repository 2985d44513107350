#include "stitch/lexer.h"

#include "base/text.h"

namespace rayctl::stitch {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The first byte of a letter. Go knows which characters of Unicode are letters; here all beyond ASCII count.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// The length of the UTF-8 character at the front; 0 when it is none (RFC 3629).
size_t character(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return length;
}

}  // namespace

Lexer::Lexer(const Source& source) : source_(source), text_(source.text) {
  if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;  // a byte order mark
  Token place;
  for (size_t i = 0; i < text_.size();) {
    size_t length = character(text_.substr(i));
    if (length == 0 || text_[i] == '\0')
      fail(place, length == 0 ? "the text is not UTF-8" : "the text has a zero byte");
    if (text_[i] == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      place.column += static_cast<uint32_t>(length);
    }
    i += length;
  }
}

void Lexer::fail(const Token& at, std::string_view message) const {
  throw SpecError(source_, at.line, at.column, message);
}

char Lexer::peek(size_t ahead) const {
  return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
}

void Lexer::advance() {
  if (text_[at_] == '\n') {
    ++line_;
    column_ = 0;
  }
  ++column_;
  ++at_;
}

void Lexer::skip_blanks() {
  for (;;) {
    Token start{.line = line_, .column = column_};
    char c = peek();
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      advance();
    } else if (c == '/' && peek(1) == '/') {
      while (at_ < text_.size() && peek() != '\n') advance();
    } else if (c == '/' && peek(1) == '*') {
      advance();
      advance();
      while (at_ < text_.size() && !(peek() == '*' && peek(1) == '/')) advance();
      if (at_ >= text_.size()) fail(start, "the comment doesn't end: '*/' is missing");
      advance();
      advance();
    } else {
      return;
    }
  }
}

Token Lexer::next() {
  skip_blanks();
  Token token{.line = line_, .column = column_};
  if (at_ >= text_.size()) return token;
  char c = peek();
  if (is_letter(c)) return name(token);
  if (is_digit(c) || (c == '.' && is_digit(peek(1)))) return number(token);
  if (c == '"') return string(token);
  token.text = text_.substr(at_, 1);
  advance();
  if (c == '(' || c == ')') {
    token.kind = c == '(' ? Token::Kind::open : Token::Kind::close;
    return token;
  }
  if (std::string_view("+-/%*=<>!").find(c) != std::string_view::npos) {
    token.kind = Token::Kind::name;
    return token;
  }
  fail(token, c == ';'    ? "unexpected ';': a comment begins with '//'"
              : c == '`'  ? "unexpected '`': strings stand in double quotes"
              : c == '\'' ? "unexpected ''': strings stand in double quotes"
                          : fmt::format("unexpected '{}'", printable(token.text)));
}

Token Lexer::name(Token token) {
  token.kind = Token::Kind::name;
  size_t start = at_;
  for (;;) {
    while (at_ < text_.size() && (is_letter(peek()) || is_digit(peek()))) advance();
    if (peek() != '.') break;
    Token dot{.line = line_, .column = column_};
    advance();
    if (!is_letter(peek())) fail(dot, "a name ends with '.': what it names is missing");
  }
  token.text = text_.substr(start, at_ - start);
  return token;
}

Token Lexer::number(Token token) {
  token.kind = Token::Kind::integer;
  size_t start = at_;
  if (peek() == '0' && (peek(1) == 'x' || peek(1) == 'X')) {
    advance();
    advance();
    while (is_digit(peek()) || (peek() | 0x20) == 'a' || ((peek() | 0x20) > 'a' && (peek() | 0x20) <= 'f'))
      advance();
  } else {
    while (is_digit(peek())) advance();
    if (peek() == '.') {
      token.kind = Token::Kind::real;
      advance();
      while (is_digit(peek())) advance();
    }
    size_t sign = peek(1) == '+' || peek(1) == '-' ? 2 : 1;
    if ((peek() == 'e' || peek() == 'E') && is_digit(peek(sign))) {
      token.kind = Token::Kind::real;
      for (size_t i = 0; i < sign; ++i) advance();
      while (is_digit(peek())) advance();
    }
  }
  token.text = text_.substr(start, at_ - start);
  if (at_ < text_.size() && is_letter(peek())) fail(token, "a number is followed by a letter");
  return token;
}

Token Lexer::string(Token token) {
  token.kind = Token::Kind::string;
  advance();
  size_t start = at_;
  while (at_ < text_.size() && peek() != '"') {
    if (peek() == '\\' && peek(1) != '\n' && at_ + 1 < text_.size()) advance();
    if (peek() == '\n') break;
    advance();
  }
  if (at_ >= text_.size() || peek() == '\n')
    fail(token, "the string doesn't end in its line: '\"' is missing");
  token.text = text_.substr(start, at_ - start);
  advance();
  return token;
}

}  // namespace rayctl::stitch
