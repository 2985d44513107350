// Contexts from a file, claims from an operator, tokens' and operators' records: read or an Error.
#include "cluster/context.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/claim.h"
#include "cluster/operators.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  using namespace rayctl::cluster;
  if (size < 1) return 0;
  std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    switch (data[0] % 3) {
      case 0: {
        Context context = import_context(text, "file");
        if (import_context(export_context(context), "again").cluster != context.cluster) __builtin_trap();
        break;
      }
      case 1: {
        ClaimRecord record = parse_claim(Json::parse(text, "claim"));
        if (parse_claim(Json::parse(to_json(record).dump(), "again")).cluster != record.cluster)
          __builtin_trap();
        break;
      }
      default: {
        OperatorRecord record = parse_operator(Json::parse(text, "operator"));
        if (record.role != MemberRole::operator_ && record.role != MemberRole::admin) __builtin_trap();
      }
    }
  } catch (const Error&) {
  }
  return 0;
}
