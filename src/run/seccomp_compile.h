// libseccomp, wrapped.
#pragma once

#include <cstdint>
#include <string_view>

#include "run/seccomp.h"

namespace rayctl::run {

// compile_seccomp for another machine: `architecture` as in SeccompProfile ("SCMP_ARCH_AARCH64"); "" = this
// one.
SeccompFilter compile_seccomp_for(const SeccompProfile& profile, std::string_view architecture);

}  // namespace rayctl::run
