#include "net/resolv_conf.h"

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text{reinterpret_cast<const char*>(data), size};
  if (net::parse_resolv_conf(text).size() > 3) __builtin_trap();
  try {
    net::Upstream upstream = net::parse_upstream(text);
    if (net::parse_upstream(to_string(upstream)) != upstream) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}
