// The specification's names of the six kinds of hooks.
#pragma once

#include <array>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

struct HookKind {
  const char* name;
  std::vector<Hook> Hooks::*list;
};

inline constexpr std::array<HookKind, 6> hook_kinds = {{{"prestart", &Hooks::prestart},
                                                        {"createRuntime", &Hooks::create_runtime},
                                                        {"createContainer", &Hooks::create_container},
                                                        {"startContainer", &Hooks::start_container},
                                                        {"poststart", &Hooks::poststart},
                                                        {"poststop", &Hooks::poststop}}};

}  // namespace rayctl::run
