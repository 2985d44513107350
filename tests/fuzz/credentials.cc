// Any config.json of docker.
#include "oci/credentials.h"

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    oci::find_login(text, "config.json", "r.test", "a/b");
    std::string added = oci::with_login(text, "config.json", "r.test", {.username = "u", .password = "p"});
    oci::without_login(added, "config.json", "r.test");
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {  // "auths" of another type than an object
  }
  return 0;
}
