// .dockerignore: the first line's worth of bytes is a path, the rest the file.
#include "oci/ignore.h"

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl::oci;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t end = std::min(text.find('\n'), text.size());
  std::string path = clean_path(text.substr(0, std::min<size_t>(end, 256)));
  try {
    IgnoreList list = IgnoreList::parse(text.substr(end), ".dockerignore");
    if (list.ignores(path)) list.may_hold_exceptions(path);
  } catch (const rayctl::Error&) {
  }
  return 0;
}
