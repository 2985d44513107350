// The engines' profile document (containers-common's seccomp.json): which of its rules hold for one process.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"
#include "run/spec.h"

namespace rayctl::run {

// `architecture` is what the document's arches use: "amd64", "arm64".
SeccompProfile select_rules(const Json& document, uint64_t capabilities, std::string_view architecture);

inline constexpr std::string_view go_architecture =
#if defined(__x86_64__)
    "amd64";
#elif defined(__aarch64__)
    "arm64";
#else
#error "seccomp: this architecture has no name here"
#endif

// Written by seccomp_generator.cc while rayctl is built.
namespace generated {
extern const char seccomp_document[];
extern const uint64_t seccomp_capabilities;
extern const uint64_t seccomp_program[];  // each one sock_filter: code | jt << 16 | jf << 24 | k << 32
extern const unsigned seccomp_program_size;
}  // namespace generated

}  // namespace rayctl::run
