// seccomp_generator SECCOMP.JSON ARCHITECTURE >seccomp_default.cc: runs while rayctl is built. The engines'
// default profile becomes a BPF program for docker's default capabilities, so that starting a container
// compiles nothing.
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/seccomp_compile.h"
#include "run/seccomp_profile.h"

namespace rayctl::run {
namespace {

std::string quoted(const std::string& text) {
  std::string lines;
  for (size_t at = 0; at < text.size(); at += 96) {
    lines += "    \"";
    for (char c : text.substr(at, 96)) {
      if (c == '"' || c == '\\') lines += '\\';
      lines += c;
    }
    lines += "\"\n";
  }
  return lines;
}

int generate(int argc, char** argv) {
  try {
    if (argc != 3) throw UsageError("usage: seccomp_generator SECCOMP.JSON x86_64|aarch64");
    Json document = Json::parse(read_file(argv[1]), argv[1]);
    bool x86 = std::strcmp(argv[2], "x86_64") == 0;
    if (!x86 && std::strcmp(argv[2], "aarch64") != 0)
      throw UsageError("no seccomp profile for '{}'", argv[2]);
    SeccompProfile profile = select_rules(document, default_capabilities(), x86 ? "amd64" : "arm64");
    SeccompFilter filter = compile_seccomp_for(profile, x86 ? "SCMP_ARCH_X86_64" : "SCMP_ARCH_AARCH64");

    std::string text = "#include \"run/seccomp_profile.h\"\n\nnamespace rayctl::run::generated {\n\n";
    text += "const char seccomp_document[] =\n" + quoted(document.raw().dump()) + ";\n\n";
    text += fmt::format("const uint64_t seccomp_capabilities = {:#x}u;\n\n", default_capabilities());
    text += "const uint64_t seccomp_program[] = {\n";
    for (const sock_filter& i : filter.program)
      text += fmt::format("    {:#x}u,\n",
                          i.code | uint64_t{i.jt} << 16 | uint64_t{i.jf} << 24 | uint64_t{i.k} << 32);
    text += fmt::format(
        "}};\n\nconst unsigned seccomp_program_size = {};\n\n}}  // namespace rayctl::run::generated\n",
        filter.program.size());
    write_fd(1, text, "standard output");
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "seccomp_generator: %s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace rayctl::run

int main(int argc, char** argv) {
  return rayctl::run::generate(argc, argv);
}
