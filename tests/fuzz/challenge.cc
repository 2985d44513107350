// Any WWW-Authenticate header, and the realm in it.
#include <cstdint>

#include "base/error.h"
#include "oci/auth.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const oci::Challenge& challenge : oci::parse_challenges(text)) {
    try {
      oci::validate_realm(challenge.value("realm"), "https://registry.test");
      oci::token_requests(challenge, {"repository:a:pull"}, {.username = "u", .password = "p"});
    } catch (const Error&) {
    }
  }
  try {
    oci::parse_token(text);
  } catch (const Error&) {
  }
  return 0;
}
