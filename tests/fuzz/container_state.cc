// state.json, exit.json and options.json: what is accepted is written back as the same.
#include "run/container_state.h"

#include <cstdlib>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

template <class Parse>
void round_trip(std::string_view text, Parse&& parse) {
  std::string once;
  try {
    once = to_text(parse(text, "f"));
  } catch (const Error&) {
    return;
  }
  if (to_text(parse(once, "f")) != once) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  round_trip(text, [](std::string_view t, const char* n) { return parse_state(t, n); });
  round_trip(text, [](std::string_view t, const char* n) { return parse_exit(t, n); });
  round_trip(text, [](std::string_view t, const char* n) { return parse_options(t, n); });
  return 0;
}
