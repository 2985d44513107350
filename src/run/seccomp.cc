#include "run/seccomp.h"

#include "base/json.h"
#include "run/seccomp_compile.h"
#include "run/seccomp_profile.h"

namespace rayctl::run {

SeccompFilter compile_seccomp(const SeccompProfile& profile) {
  return compile_seccomp_for(profile, "");
}

SeccompProfile default_seccomp_profile(uint64_t capabilities) {
  return select_rules(Json::parse(generated::seccomp_document, "seccomp.json"), capabilities,
                      go_architecture);
}

SeccompFilter default_seccomp(uint64_t capabilities) {
  if (capabilities != generated::seccomp_capabilities)
    return compile_seccomp(default_seccomp_profile(capabilities));
  SeccompFilter filter;
  filter.program.reserve(generated::seccomp_program_size);
  for (unsigned i = 0; i < generated::seccomp_program_size; ++i) {
    uint64_t packed = generated::seccomp_program[i];
    filter.program.push_back({static_cast<uint16_t>(packed), static_cast<uint8_t>(packed >> 16),
                              static_cast<uint8_t>(packed >> 24), static_cast<uint32_t>(packed >> 32)});
  }
  return filter;
}

SeccompFilter seccomp_filter(const Spec& spec) {
  if (spec.linux_.seccomp) return compile_seccomp(*spec.linux_.seccomp);
  if (spec.default_seccomp)
    return default_seccomp(spec.process.capabilities.value_or(Capabilities{}).bounding);
  return {};
}

}  // namespace rayctl::run
