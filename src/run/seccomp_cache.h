// Compiled filters, kept between starts: libseccomp needs ten milliseconds for an engine's profile, each
// time.
#pragma once

#include <string>

#include "run/seccomp.h"

namespace rayctl::run {

// seccomp_filter(spec), looked up in `directory` (0700, made when missing) first. An entry holds the whole
// profile and counts only when that, rayctl's version and the kernel's release are the same. A cache that
// can't be used costs time and nothing else. Empty `directory` = no cache.
SeccompFilter cached_seccomp_filter(const Spec& spec, const std::string& directory);

}  // namespace rayctl::run
