// USER against passwd and group: the input's first line is the user, the rest is split between both files.
#include "run/user.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  size_t line = input.find('\n');
  std::string_view user = input.substr(0, line);
  std::string_view rest = line == std::string_view::npos ? "" : input.substr(line + 1);
  size_t middle = rest.find("\n\n");
  try {
    auto found = rayctl::run::resolve_user(user, rest.substr(0, middle),
                                           middle == std::string_view::npos ? "" : rest.substr(middle + 2));
    if (found.uid == UINT32_MAX || found.gid == UINT32_MAX) abort();
    if (found.uid == 0 && user.find_first_not_of("0:") != std::string_view::npos && found.name.empty() &&
        user[0] != ':' && user[0] != '0')
      abort();  // nothing but zeros is root by number
  } catch (const rayctl::Error&) {
  }
  return 0;
}
