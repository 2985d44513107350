// Any answer of Google and Azure, any price table.
#include <cstdint>

#include "base/json.h"
#include "cloud/azure.h"
#include "cloud/gce.h"
#include "cloud/prices.h"

using namespace rayctl::cloud;

namespace {

template <class F>
void any(F&& parse) {
  try {
    parse();
  } catch (const rayctl::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  rayctl::HttpResponse response;
  response.status = 409;
  response.body = text;
  any([&] { gce_error("x", response); });
  any([&] { azure_error("x", response); });
  any([&] {
    auto json = rayctl::Json::parse(text, "answer");
    any([&] { gce_machine(json); });
    any([&] { gce_operation_error("x", json); });
    any([&] { azure_machine(json); });
    any([&] { azure_error("x", json, 0); });
  });
  any([&] {
    PriceTable table = PriceTable::parse(text, "prices");
    for (const char* provider : {"Amazon", "Google", "Azure"})
      for (const std::string& region : table.regions(provider))
        fitting_sizes(table.sizes(provider, region), {});
  });
  return 0;
}
