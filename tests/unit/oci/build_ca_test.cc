#include "oci/build_ca.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

std::string pem(char fill) {
  std::string text = "-----BEGIN CERTIFICATE-----\n";
  for (int line = 0; line < 12; ++line) text += std::string(63, fill) + static_cast<char>('a' + line) + "\n";
  return text + "-----END CERTIFICATE-----\n";
}

struct Image {
  TempDir top;
  MergedView view() { return MergedView({top.path()}); }
  void put(const std::string& path, const std::string& text) {
    std::string full = top.path() + path;
    make_directories(full.substr(0, full.rfind('/')));
    replace_file(full, text);
  }
};

std::string verdict(CaGuard& guard, std::string_view text, size_t piece) {
  try {
    size_t i = 0;
    do {
      guard.inspect("x/y", as_bytes(text.substr(i, piece)), i + piece >= text.size());
      i += piece;
    } while (i < text.size());
  } catch (const Error& error) {
    return error.message();
  }
  return "fine";
}

constexpr const char* leak =
    "cannot keep '/x/y': the step put a certificate of --ca-bundle into it (the bundle is for the build "
    "alone; COPY the "
    "certificate if the image shall have it)";

}  // namespace

TEST_CASE("certificates are read from PEM, whatever is around them") {
  CHECK(certificates("x\n" + pem('A') + "# c\n" + pem('B'), "f").size() == 2);
  CHECK_THROWS_WITH(certificates("", "f"),
                    "cannot use 'f' as a CA bundle: it holds no certificate in PEM form");
  CHECK_THROWS_WITH(certificates("-----BEGIN CERTIFICATE-----\n", "f"),
                    "cannot read 'f': a certificate has no END line");
}

TEST_CASE("a file with the company's certificate is refused, at whatever place in it") {
  Image image;
  image.put("/usr/share/ca-certificates/mozilla/Public.crt", pem('A'));
  MergedView view = image.view();
  CaGuard guard(pem('A') + pem('B'), view);
  for (size_t piece : {size_t{1} << 20, size_t{100}, size_t{701}}) {
    CHECK(verdict(guard, pem('A') + pem('C'), piece) == "fine");
    CHECK(verdict(guard, std::string(5000, 'x') + pem('B'), piece) == leak);
    CaGuard fresh(pem('A') + pem('B'), view);
    CHECK(verdict(fresh, "binary" + std::string(64 * 6 * 3 / 4, '\0') + "none", piece) == "fine");
  }
}

TEST_CASE("nothing public is known: only the whole bundle is a leak") {
  if (exists("/usr/share/ca-certificates")) return;  // this machine knows
  Image image;
  MergedView view = image.view();
  CaGuard guard(pem('A') + pem('B'), view);
  CHECK(verdict(guard, pem('A') + pem('C'), 1 << 20) == "fine");
  CHECK(verdict(guard, pem('A') + pem('B'), 1 << 20) == leak);
}
