// Variable expansion: bounded output, no crash, whatever the text and the values.
#include "oci/expand.h"

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl::oci;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string half(text.substr(0, size / 2));
  Lookup lookup = [&](const std::string& name) -> std::optional<std::string> {
    if (name == "a") return half;
    if (name == "b") return "";
    return std::nullopt;
  };
  auto attempt = [](auto&& what) {
    try {
      what();
    } catch (const rayctl::Error&) {
    }
  };
  attempt([&] { expand(text, lookup); });
  attempt([&] { expand_words(text, lookup, '`'); });
  attempt([&] { expand_body(text, lookup); });
  return 0;
}
