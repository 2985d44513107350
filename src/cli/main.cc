#include <cstdio>

#include "base/version.h"

int main() {
  std::printf("rayctl %s\n", std::string(rayctl::version()).c_str());
  for (const auto& library : rayctl::linked_libraries())
    std::printf("  %-14s %s\n", library.name.c_str(), library.version.c_str());
}
