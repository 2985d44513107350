#include "base/error.h"

#include <cstring>

namespace rayctl {

std::string SysError::describe(int code) {
  char buffer[128];
  return strerror_r(code, buffer, sizeof buffer);  // the GNU variant: no locale, thread-safe
}

}  // namespace rayctl
