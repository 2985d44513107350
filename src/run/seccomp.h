// System call filters: a profile becomes a classic BPF program for seccomp(2).
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "run/spec.h"

namespace rayctl::run {

// Ready to load: seccomp(SECCOMP_SET_MODE_FILTER, flags, {program.size(), program.data()}).
struct SeccompFilter {
  std::vector<sock_filter> program = {};       // empty = no filter
  unsigned flags = 0;                          // SECCOMP_FILTER_FLAG_…
  static constexpr unsigned new_listener = 8;  // SECCOMP_FILTER_FLAG_NEW_LISTENER
  bool has_listener() const { return flags & new_listener; }
};

// Any profile of the OCI specification, compiled by libseccomp. Names that this architecture or libseccomp
// doesn't know are left out, as every engine does. SCMP_ACT_NOTIFY needs listenerPath, and gives the filter a
// listener (seccomp_listener.h).
SeccompFilter compile_seccomp(const SeccompProfile& profile);

// The engines' default profile for a process with these capabilities (its bounding set): compiled when rayctl
// was built for docker's default set, at run time for any other.
SeccompFilter default_seccomp(uint64_t capabilities);

// The same as a profile of the specification: rules chosen for the capabilities, this architecture and the
// running kernel.
SeccompProfile default_seccomp_profile(uint64_t capabilities);

// What `spec` asks for: linux.seccomp, or the default profile, or none.
SeccompFilter seccomp_filter(const Spec& spec);

}  // namespace rayctl::run
