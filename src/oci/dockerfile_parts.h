// The parsers of the larger instructions; for dockerfile.cc.
#pragma once

#include "oci/dockerfile.h"

namespace rayctl::oci {

RunInstruction parse_run(const RawInstruction& raw, const Place& place);
CopyInstruction parse_copy(const RawInstruction& raw, const Place& place);
HealthcheckInstruction parse_healthcheck(const RawInstruction& raw, const Place& place);

// The words of one `--mount=type=cache,target=/x`.
RunMount parse_mount(const std::string& value, const Place& place);

// Go's duration form, as HEALTHCHECK takes it: "1m30s", "0.5s", "250ms".
std::chrono::nanoseconds parse_go_duration(const std::string& text, const Place& place,
                                           std::string_view flag);

}  // namespace rayctl::oci
