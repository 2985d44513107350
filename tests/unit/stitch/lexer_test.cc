#include "stitch/lexer.h"

#include <catch2/catch.hpp>

using namespace rayctl;
using namespace rayctl::stitch;
using Catch::Matchers::Equals;

namespace {

// "n:name i:12 r:1.5 s:text ( )"
std::string words(const std::string& text) {
  Source source{"t.spec", "", text};
  Lexer lexer(source);
  std::string all;
  for (Token token = lexer.next(); token.kind != Token::Kind::end; token = lexer.next()) {
    constexpr const char* marks[] = {"n:", "i:", "r:", "s:", "", "", ""};
    if (!all.empty()) all += ' ';
    all += marks[static_cast<int>(token.kind)] + std::string(token.text);
  }
  return all;
}

}  // namespace

TEST_CASE("words are those of Go's scanner", "[stitch][lexer]") {
  CHECK(words("(define x 12)") == "( n:define n:x i:12 )");
  CHECK(words("strings.Join _a1 a.b.c") == "n:strings.Join n:_a1 n:a.b.c");
  CHECK(words("-5 +a <=") == "n:- i:5 n:+ n:a n:< n:=");
  CHECK(words("1.5 .5 2. 1e3 1.5e-3 0x1F 017") == "r:1.5 r:.5 r:2. r:1e3 r:1.5e-3 i:0x1F i:017");
  CHECK(words(R"("a" "" "say \"hi\"" "a\b")") == R"(s:a s: s:say \"hi\" s:a\b)");
  CHECK(words("a // b\n/* c\n d */ e") == "n:a n:e");
  CHECK(words("a/b") == "n:a n:/ n:b");
  CHECK(words("größe") == "n:größe");
  CHECK(words("\xef\xbb\xbf(a)") == "( n:a )");
  CHECK(words("") == "");
}

TEST_CASE("what is no word is shown with a caret", "[stitch][lexer]") {
  struct Case {
    const char *text, *says;
  };
  const Case cases[] = {
      {"; comment", "t.spec:1:1: unexpected ';': a comment begins with '//'\n  ; comment\n  ^"},
      {"(a\n  'b')", "t.spec:2:3: unexpected ''': strings stand in double quotes\n    'b')\n    ^"},
      {"\"abc", "t.spec:1:1: the string doesn't end in its line: '\"' is missing\n  \"abc\n  ^"},
      {"\"a\nb\"", "t.spec:1:1: the string doesn't end in its line: '\"' is missing\n  \"a\n  ^"},
      {"\"a\\", "t.spec:1:1: the string doesn't end in its line: '\"' is missing\n  \"a\\\n  ^"},
      {"/* a", "t.spec:1:1: the comment doesn't end: '*/' is missing\n  /* a\n  ^"},
      {"a. b", "t.spec:1:2: a name ends with '.': what it names is missing\n  a. b\n   ^"},
      {"12ab", "t.spec:1:1: a number is followed by a letter\n  12ab\n  ^"},
      {"a [b]", "t.spec:1:3: unexpected '['\n  a [b]\n    ^"},
  };
  for (const Case& one : cases) {
    INFO(one.text);
    CHECK_THROWS_WITH(words(one.text), Equals(one.says));
  }
  CHECK_THROWS_WITH(words(std::string("a\0b", 3)),
                    Catch::Matchers::Contains("t.spec:1:2: the text has a zero byte"));
  CHECK_THROWS_WITH(words("a \xff"), Catch::Matchers::Contains("t.spec:1:3: the text is not UTF-8"));
}

TEST_CASE("a long line is cut around the caret", "[stitch][lexer]") {
  Source source{"t.spec", "", std::string(300, 'a') + "\n"};
  CHECK(excerpt(source, 1, 1) == "  " + std::string(100, 'a') + "...\n  ^");
  CHECK(excerpt(source, 1, 201) == "  ..." + std::string(100, 'a') + "...\n  " + std::string(63, ' ') + "^");
  Source wide{"t.spec", "", "äö\tx"};
  CHECK(excerpt(wide, 1, 6) == "  äö x\n     ^");
}
