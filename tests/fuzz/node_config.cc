// A node's configuration as user-data brings it: errors or options, and what they resolve to.
#include "ray/node_config.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    std::string_view text(reinterpret_cast<const char*>(data), size);
    ray::NodeOptions options = ray::parse_node_options(text, "node.json");
    ray::resolve(ray::merge({}, options), {.memory_total = 16ull << 30, .cpus = 4});
  } catch (const Error&) {
  }
  return 0;
}
