// config.json: what parses is written and read again to the same text, and has a plan or an error.
#include "run/spec.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "run/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  try {
    run::Spec spec = run::parse_spec(Json::parse({reinterpret_cast<const char*>(data), size}, "config.json"));
    std::string text = run::to_text(spec);
    if (run::to_text(run::parse_spec(Json::parse(text, "config.json"))) != text) abort();
    run::Plan plan = run::make_plan(spec, "/bundle");
    run::describe(plan);
    for (const run::Step& step : plan.steps)
      if (const auto* sysctl = std::get_if<run::SetSysctl>(&step))
        if (run::clean_path(sysctl->path) != "/" + sysctl->path) abort();
  } catch (const Error&) {
  }
  return 0;
}
