// The whole Dockerfile parser: any text gives a Dockerfile or an Error.
#include "oci/dockerfile.h"

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl::oci;
  try {
    Dockerfile parsed = parse_dockerfile({reinterpret_cast<const char*>(data), size}, "Dockerfile");
    for (const Stage& stage : parsed.stages)
      for (const Instruction& instruction : stage.instructions) reject_unsupported(instruction);
  } catch (const rayctl::Error&) {
  }
  return 0;
}
