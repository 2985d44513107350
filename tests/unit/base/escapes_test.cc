#include "base/escapes.h"

#include <catch2/catch.hpp>

using namespace rayctl;

TEST_CASE("what drives a terminal is taken out of a text", "[base]") {
  CHECK(without_escapes("\033[1;31mred\033[0m \033]0;title\a\033(Bplain\033[2K") == "red plain");
  CHECK(without_escapes("\033]8;;x\033\\link\033[?25l\033M.") == "link.");
  CHECK(without_escapes("\033[31") == "\033[31");  // not whole
  CHECK(without_escapes("\033") == "\033");
}
