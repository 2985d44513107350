// Any text: a parsed name is stable through its full form.
#include "oci/reference.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    oci::Reference reference = oci::parse_reference(text);
    if (oci::parse_reference(oci::to_string(reference)) != reference) abort();
    if (oci::parse_reference(oci::familiar(reference)) != reference) abort();
  } catch (const Error&) {
  }
  return 0;
}
