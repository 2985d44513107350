// Every document from outside passes this view: whatever it accepts must be readable without undefined
// behaviour, whatever it refuses must be an Error.
#include "base/json.h"

#include "base/error.h"

namespace {

void visit(const rayctl::Json& value, int& budget) {
  if (--budget < 0) return;
  if (value.is_object()) {
    for (const auto& [key, member] : value.members()) {
      if (!member.is_null() && !value.has(key)) __builtin_trap();
      visit(member, budget);
    }
  } else if (value.is_array()) {
    for (const auto& item : value.items()) visit(item, budget);
  }
  using Reader = void (*)(const rayctl::Json&);
  static constexpr Reader readers[] = {
      [](const rayctl::Json& v) { (void)v.string(); },     [](const rayctl::Json& v) { (void)v.boolean(); },
      [](const rayctl::Json& v) { (void)v.size(); },       [](const rayctl::Json& v) { (void)v.integer(); },
      [](const rayctl::Json& v) { (void)v.number(); },     [](const rayctl::Json& v) { (void)v.strings(); },
      [](const rayctl::Json& v) { (void)v.string_map(); }, [](const rayctl::Json& v) { v.only({"a", "b"}); },
  };
  for (Reader read : readers) {
    try {
      read(value);
    } catch (const rayctl::Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    int budget = 2000;
    visit(rayctl::Json::parse({reinterpret_cast<const char*>(data), size}, "input"), budget);
  } catch (const rayctl::Error&) {
  }
  return 0;
}
