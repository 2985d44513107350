// Any text: what passes as a digest is safe as a path.
#include "oci/digest.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    oci::Digest digest = oci::Digest::parse(text);
    if (digest.string() != text || digest.path().find("..") != std::string::npos) abort();
  } catch (const Error&) {
    if (oci::Digest::is_digest(text)) abort();
  }
  return 0;
}
