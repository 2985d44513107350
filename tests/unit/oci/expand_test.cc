#include "oci/expand.h"

#include <catch2/catch.hpp>
#include <map>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

const std::map<std::string, std::string> variables = {
    {"a", "x"}, {"empty", ""}, {"path", "/usr/lib/python3.11/site.tar.gz"}, {"two", "b c"}, {"star", "a*b"}};

std::optional<std::string> lookup(const std::string& name) {
  auto found = variables.find(name);
  if (found == variables.end()) return std::nullopt;
  return found->second;
}

std::string ex(std::string_view text, char escape = '\\') {
  try {
    return expand(text, lookup, escape);
  } catch (const Error& error) {
    return "error: " + error.message();
  }
}

}  // namespace

TEST_CASE("plain variables, quotes and escapes") {
  CHECK(ex("$a ${a} $a/b ${a}b") == "x x x/b xb");
  CHECK(ex("'$a' \"$a\" \\$a $") == "$a x $a $");
  CHECK(ex("\"a\\\"b\\c\"") == "a\"b\\c");
  CHECK(ex("rayproject/ray:nightly\"$a\"") == "rayproject/ray:nightlyx");
  CHECK(ex("`$a", '`') == "$a");
  CHECK(ex("[$none]") == "[]");
  CHECK(ex("$1x $@") == "x ");
}

TEST_CASE("defaults, alternatives and demands") {
  CHECK(ex("${a:-w}${none:-w}${empty:-w}${empty-w}${none-w}") == "xwww");
  CHECK(ex("[${a:+w}][${none:+w}][${empty:+w}][${empty+w}]") == "[w][][][w]");
  CHECK(ex("${none:-${none2:-$a}}") == "x");
  CHECK(ex("${none:-\"}\"}") == "}");
  CHECK(ex("${a:?no}") == "x");
  CHECK(ex("${none:?set it}") == "error: none: set it");
  CHECK(ex("${empty:?}") == "error: empty: is not allowed to be empty");
  CHECK(ex("${empty?}") == "");
  CHECK(ex("${none?}") == "error: none: is not allowed to be unset");
}

TEST_CASE("prefixes, suffixes and replacements") {
  CHECK(ex("${path#*/}") == "usr/lib/python3.11/site.tar.gz");
  CHECK(ex("${path##*/}") == "site.tar.gz");
  CHECK(ex("${path%.*}") == "/usr/lib/python3.11/site.tar");
  CHECK(ex("${path%%.*}") == "/usr/lib/python3");
  CHECK(ex("${path%none}") == "/usr/lib/python3.11/site.tar.gz");
  CHECK(ex("${path/usr/opt}") == "/opt/lib/python3.11/site.tar.gz");
  CHECK(ex("${path//s/S}") == "/uSr/lib/python3.11/Site.tar.gz");
  CHECK(ex("${path//\\//_}") == "_usr_lib_python3.11_site.tar.gz");
  CHECK(ex("${path/p*1/X}") == "/usr/lib/X/site.tar.gz");
  CHECK(ex("${path/si?e/X}") == "/usr/lib/python3.11/X.tar.gz");
  CHECK(ex("${star#a\\*}") == "b");
  CHECK(ex("${star/\\*/$a}") == "axb");
  CHECK(ex("${none#x}") == "");
}

TEST_CASE("words split after expansion, quotes hold them together") {
  CHECK(expand_words("80 $two \"$two\" x\\ y", lookup) ==
        std::vector<std::string>{"80", "b", "c", "b c", "x y"});
}

TEST_CASE("a heredoc body keeps its quotes") {
  CHECK(expand_body("\"$a\" '$a' \\$a \\\\\n", lookup) == "\"x\" 'x' $a \\\n");
}

TEST_CASE("broken substitutions are errors") {
  CHECK(ex("${a") == "error: '${a' lacks a closing '}'");
  CHECK(ex("${") == "error: '${' lacks a closing '}'");
  CHECK(ex("${}") == "error: '${}' holds a bad substitution");
  CHECK(ex("${:x}") == "error: '${:x}' holds a bad substitution");
  CHECK(ex("${a:=b}") == "error: '${a:=b}': ${a:=…} is no substitution that a Dockerfile knows");
  CHECK(ex("${a^^}") == "error: '${a^^}': ${a^…} is no substitution that a Dockerfile knows");
  CHECK(ex("'a") == "error: ''a' lacks a closing single quote");
  CHECK(ex("\"a") == "error: '\"a' lacks a closing double quote");
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += "${none:-";
  CHECK(ex(deep).find("nests too deep") != std::string::npos);
}
