#include "base/text.h"
#include "oci/dockerfile.h"

namespace rayctl::oci {

namespace {

[[noreturn]] void refuse(const Instruction& instruction, std::string_view what, std::string_view instead) {
  Error error = error_at(instruction.place, "{} {} is not supported by this version of rayctl",
                         instruction.keyword, what);
  error.hint("{}", instead);
  throw error;
}

void check_run(const Instruction& instruction, const RunInstruction& run) {
  for (const RunMount& mount : run.mounts)
    if (mount.type == "ssh") refuse(instruction, "--mount=type=ssh", "copy a key by --mount=type=secret");
  if (run.security != "sandbox")
    refuse(instruction, "--security=" + run.security, "build steps have docker's capabilities");
  if (!run.devices.empty())
    refuse(instruction, "--device=" + printable(run.devices[0]), "build steps see no devices of the host");
}

bool is_remote(std::string_view source) {
  auto begins = [&](std::string_view prefix) { return source.substr(0, prefix.size()) == prefix; };
  return begins("http://") || begins("https://") || begins("git@") || begins("git://") || begins("ssh://");
}

void check_copy(const Instruction& instruction, const CopyInstruction& copy) {
  if (!copy.checksum.empty()) refuse(instruction, "--checksum", "download and check the file in a RUN");
  if (copy.keep_git_dir) refuse(instruction, "--keep-git-dir", "clone the repository in a RUN");
  if (copy.kind == CopyInstruction::Kind::add)
    for (const std::string& source : copy.sources)
      if (is_remote(source))
        refuse(instruction, "of '" + printable(source) + "'", "download it in a RUN, or beforehand");
}

}  // namespace

void reject_unsupported(const Instruction& instruction) {
  if (auto* run = std::get_if<RunInstruction>(&instruction.what)) check_run(instruction, *run);
  if (auto* copy = std::get_if<CopyInstruction>(&instruction.what)) check_copy(instruction, *copy);
  if (auto* onbuild = std::get_if<OnbuildInstruction>(&instruction.what))
    reject_unsupported(parse_instruction(onbuild->trigger, '\\', instruction.place));
}

}  // namespace rayctl::oci
