// A journal's bytes after any accident: records and where the good ones end, or an Error. What is good stays
// good.
#include "cluster/journal.h"

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    cluster::ParsedRecords parsed = cluster::parse_records(bytes, "journal");
    if (parsed.good > size) __builtin_trap();
    // Cut where it says, it is whole.
    cluster::ParsedRecords again = cluster::parse_records(bytes.substr(0, parsed.good), "journal");
    if (again.torn || again.records != parsed.records) __builtin_trap();
  } catch (const Error&) {
  }
  return 0;
}
