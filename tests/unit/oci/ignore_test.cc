#include "oci/ignore.h"

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

bool tree(const char* pattern, const char* path) {
  return Pattern(pattern, Pattern::Kind::tree).matches(path);
}
bool path(const char* pattern, const char* path) {
  return Pattern(pattern, Pattern::Kind::path).matches(path);
}

std::string error_of(const char* text) {
  try {
    IgnoreList::parse(text, ".dockerignore");
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

}  // namespace

TEST_CASE("path patterns stay within a segment") {
  CHECK(path("*.whl", "a.whl"));
  CHECK_FALSE(path("*.whl", "d/a.whl"));
  CHECK(path("a/*/c", "a/b/c"));
  CHECK(path("[a-c]?[^x]", "bzy"));
  CHECK_FALSE(path("[a-c]?[^x]", "bzx"));
  CHECK(path("\\*", "*"));
  CHECK_FALSE(path("\\*", "a"));
  CHECK(path("**", "ab"));
  CHECK_FALSE(path("**", "a/b"));
}

TEST_CASE("** spans directories as docker's matcher does") {
  CHECK(tree("**/foo", "foo"));
  CHECK(tree("**/foo", "a/b/foo"));
  CHECK_FALSE(tree("**/foo", "a/xfoo"));
  CHECK(tree("**foo", "a/xfoo"));
  CHECK(tree("a/**/b", "a/b"));
  CHECK(tree("a/**/b", "a/x/y/b"));
  CHECK_FALSE(tree("a/**/b", "ab"));
  CHECK(tree("a/**", "a/b/c"));
  CHECK_FALSE(tree("a/**", "a"));
  CHECK(tree("**", "a/b/c"));
  CHECK(tree("**/*.py[co]", "a/b.pyc"));
  CHECK(tree("a**/*abcd", "a/xxabcd"));
  CHECK_FALSE(tree("*", "a/b"));
}

TEST_CASE("the last rule that fits decides, and directories cover what is below") {
  IgnoreList list = IgnoreList::parse(
      "# comment\n\n  docs/ \n!docs/README.md\n/build\n*.o\n!important.o\ndocs/README.md.bak\n", "x");
  CHECK(list.ignores("docs"));
  CHECK(list.ignores("docs/a/b"));
  CHECK_FALSE(list.ignores("docs/README.md"));
  CHECK(list.ignores("build/x"));
  CHECK_FALSE(list.ignores("src/build"));
  CHECK(list.ignores("a.o"));
  CHECK_FALSE(list.ignores("important.o"));
  CHECK_FALSE(list.ignores("d/a.o"));
  CHECK(list.may_hold_exceptions("docs"));
  CHECK_FALSE(list.may_hold_exceptions("build"));
}

TEST_CASE("everything but a folder") {
  IgnoreList list = IgnoreList::parse("*\n!scripts\n!**/keep.txt\nscripts/*.tmp\n", "x");
  CHECK(list.ignores("a"));
  CHECK_FALSE(list.ignores("scripts"));
  CHECK_FALSE(list.ignores("scripts/a.py"));
  CHECK(list.ignores("scripts/a.tmp"));
  CHECK_FALSE(list.ignores("d/e/keep.txt"));
  CHECK(list.may_hold_exceptions("d"));
}

TEST_CASE("bad patterns are refused by line") {
  CHECK(error_of("a\n[x\n") == ".dockerignore:2: bad pattern '[x': a '[' isn't closed");
  CHECK(error_of("!\n") == ".dockerignore:1: a lone '!' takes nothing back");
  CHECK(error_of("a\\\n") == ".dockerignore:1: bad pattern 'a\\': it ends with a '\\'");
  CHECK(error_of("[b-a]\n") == ".dockerignore:1: bad pattern '[b-a]': a range runs backwards");
}

TEST_CASE("paths are cleaned lexically") {
  CHECK(clean_path("a//b/./c/../d/") == "a/b/d");
  CHECK(clean_path("../a") == "../a");
  CHECK(clean_path("/../a") == "/a");
  CHECK(clean_path("") == ".");
  CHECK(clean_path("/") == "/");
}
