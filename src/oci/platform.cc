#include "oci/platform.h"

#include <sys/utsname.h>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

#if defined(__x86_64__)
std::string amd64_level() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return "v4";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
    return "v3";
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) return "v2";
  return "v1";
}
#endif

// Names that other tools use for the same thing (containerd's platforms.Normalize).
Platform normalised(Platform p) {
  if (p.architecture == "x86_64" || p.architecture == "x86-64") p.architecture = "amd64";
  if (p.architecture == "aarch64") p.architecture = "arm64";
  if (p.architecture == "i386") p.architecture = "386";
  if (p.architecture == "armhf") {
    p.architecture = "arm";
    p.variant = "v7";
  }
  if (p.architecture == "armel") {
    p.architecture = "arm";
    p.variant = "v6";
  }
  if (p.architecture == "arm64" && (p.variant.empty() || p.variant == "8")) p.variant = "v8";
  if (p.architecture == "arm" && p.variant.empty()) p.variant = "v7";
  if (p.architecture == "amd64" && p.variant.empty()) p.variant = "v1";
  return p;
}

int level(std::string_view variant) {
  return variant.size() == 2 && variant[0] == 'v' && variant[1] >= '0' && variant[1] <= '9' ? variant[1] - '0'
                                                                                            : -1;
}

}  // namespace

Platform host_platform() {
  Platform p{.os = "linux"};
#if defined(__x86_64__)
  p.architecture = "amd64";
  p.variant = amd64_level();
#else
  utsname name{};
  check(uname(&name), "cannot find the processor's name");
  p.architecture = name.machine;
  p = normalised(p);
#endif
  return p;
}

Platform parse_platform(std::string_view text) {
  std::vector<std::string> parts = split(text, '/');
  Platform p;
  if (parts.size() == 1) {
    p = {.os = "linux", .architecture = parts[0]};
  } else if (parts.size() <= 3) {
    p = {.os = parts[0], .architecture = parts[1]};
    if (parts.size() == 3) p.variant = parts[2];
  }
  for (const std::string& part : parts)
    if (part.empty() || part.size() > 32 ||
        part.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") != std::string::npos)
      p.architecture.clear();
  if (p.architecture.empty())
    throw Error("cannot parse platform '{}': write for example linux/amd64", printable(text.substr(0, 100)));
  std::string variant = p.variant;
  p = normalised(p);
  if (variant.empty() && p.architecture == "amd64") p.variant.clear();
  return p;
}

std::string to_string(const Platform& platform) {
  std::string text = platform.os + "/" + platform.architecture;
  if (!platform.variant.empty()) text += "/" + platform.variant;
  return text;
}

int fitness(const Platform& machine, const Platform& image) {
  if (machine.os != image.os) return 0;
  Platform have = normalised(machine), want = normalised(image);
  if (have.architecture != want.architecture) return 0;
  if (have.variant == want.variant) return 100;
  if (have.architecture != "amd64" && have.architecture != "arm") return 0;
  int can = level(have.variant), needs = level(want.variant);
  return can < 0 || needs < 0 || needs > can ? 0 : 100 - (can - needs);
}

}  // namespace rayctl::oci
