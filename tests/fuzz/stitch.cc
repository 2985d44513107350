// The whole language: any text gives a deployment or an Error, within its bounds.
#include "stitch/stitch.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "stitch/draw.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl::stitch;
  Options options;
  options.limits = {.steps = 100'000, .memory = 8 << 20, .depth = 200};
  options.log = [](rayctl::Level, const std::string&) {};
  try {
    Deployment deployment = evaluate({reinterpret_cast<const char*>(data), size}, "f.spec", options);
    // What evaluates is a deployment that its own JSON describes.
    std::string text = to_json(deployment).dump();
    if (to_json(deployment_from_json(text, "f.json")).dump() != text) __builtin_trap();
    draw_text(deployment);
    draw_terminal(deployment, Charset::ascii);
    draw_dot(deployment);
    draw_svg(deployment);
  } catch (const rayctl::Error&) {
  }
  return 0;
}
