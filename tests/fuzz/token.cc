// Join tokens: any text gives a token that is written back the same, or an Error.
#include "cluster/token.h"

#include "base/error.h"
#include "base/text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    cluster::Token token = cluster::parse_token(text);
    if (cluster::format_token(token) != trim(text)) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}
