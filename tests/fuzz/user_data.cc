// Values of user-data from outside: each format is refused, or is read back as what was meant.
#include "cloud/user_data.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::cloud;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto next = [&] {
    size_t end = std::min(text.find('\0'), text.size());
    std::string part(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
  };
  UserData given;
  given.binary = {{"https://example.com/" + next()}, std::string(64, '0')};
  given.token = next();
  if (std::string key = next(); !key.empty()) given.ssh_keys = {"ssh-ed25519 " + key};
  std::string job = next();
  for (const std::string& name : user_data_formats()) {
    try {
      given.node_config = nlohmann::json{{"role", "head"}, {"job", job}}.dump(
          -1, ' ', false, nlohmann::json::error_handler_t::replace);
      user_data(given, user_data_format(name));  // throws what isn't a UsageError when it would be misread
    } catch (const UsageError&) {
    }
    try {
      read_user_data(std::string(reinterpret_cast<const char*>(data), size), user_data_format(name));
    } catch (const Error&) {
    }
  }
  return 0;
}
