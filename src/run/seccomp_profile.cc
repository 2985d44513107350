#include "run/seccomp_profile.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "run/capabilities.h"

namespace rayctl::run {

namespace {

// rayctl needs Linux 5.10; a rule for older kernels or those from 5.10 on is decided without asking.
constexpr int oldest_kernel[] = {5, 10};

bool holds_on_kernel(const std::string& minimum) {
  std::vector<std::string> parts = split(minimum, '.');
  int wanted[2] = {std::atoi(parts[0].c_str()), parts.size() > 1 ? std::atoi(parts[1].c_str()) : 0};
  return wanted[0] < oldest_kernel[0] || (wanted[0] == oldest_kernel[0] && wanted[1] <= oldest_kernel[1]);
}

bool any_capability(const std::vector<std::string>& names, uint64_t capabilities) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    auto number = capability_number(name);
    return number && (capabilities >> *number & 1);
  });
}

bool holds(const Json& rule, uint64_t capabilities, std::string_view architecture) {
  if (auto includes = rule.find("includes")) {
    auto arches = includes->strings_or_empty("arches");
    if (!arches.empty() && std::find(arches.begin(), arches.end(), architecture) == arches.end())
      return false;
    auto caps = includes->strings_or_empty("caps");
    if (!caps.empty() && !any_capability(caps, capabilities)) return false;
    if (auto kernel = includes->find("minKernel"); kernel && !holds_on_kernel(kernel->string())) return false;
  }
  if (auto excludes = rule.find("excludes")) {
    auto arches = excludes->strings_or_empty("arches");
    if (std::find(arches.begin(), arches.end(), architecture) != arches.end()) return false;
    if (any_capability(excludes->strings_or_empty("caps"), capabilities)) return false;
    if (auto kernel = excludes->find("minKernel"); kernel && holds_on_kernel(kernel->string())) return false;
  }
  return true;
}

std::optional<uint32_t> errno_of(const Json& object, std::string_view key) {
  auto value = object.find(key);
  if (!value) return std::nullopt;
  if (value->size() > 4095) throw Error("{}: {} is no error number", value->path(), value->size());
  return static_cast<uint32_t>(value->size());
}

}  // namespace

SeccompProfile select_rules(const Json& document, uint64_t capabilities, std::string_view architecture) {
  SeccompProfile profile;
  profile.default_action = document.at("defaultAction").string();
  profile.default_errno = errno_of(document, "defaultErrnoRet");
  std::string native = architecture == "amd64" ? "SCMP_ARCH_X86_64" : "SCMP_ARCH_AARCH64";
  for (const Json& entry : document.at("archMap").items()) {
    if (entry.at("architecture").string() != native) continue;
    profile.architectures.push_back(native);
    for (std::string& sub : entry.strings_or_empty("subArchitectures"))
      profile.architectures.push_back(std::move(sub));
  }
  for (const Json& entry : document.at("syscalls").items()) {
    if (!holds(entry, capabilities, architecture)) continue;
    SeccompRule rule{.names = entry.at("names").strings(),
                     .action = entry.at("action").string(),
                     .errno_ret = errno_of(entry, "errnoRet")};
    if (auto args = entry.find("args"))
      for (const Json& arg : args->items())
        rule.args.push_back({.index = static_cast<uint32_t>(arg.at("index").size()),
                             .value = arg.at("value").size(),
                             .value_two = arg.size_or("valueTwo", 0),
                             .op = arg.at("op").string()});
    profile.syscalls.push_back(std::move(rule));
  }
  return profile;
}

}  // namespace rayctl::run
