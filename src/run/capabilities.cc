#include "run/capabilities.h"

#include <sys/prctl.h>

#include <array>
#include <cctype>

namespace rayctl::run {

namespace {

// linux/capability.h, in the kernel's order.
constexpr std::array<const char*, 41> names{"CHOWN",
                                            "DAC_OVERRIDE",
                                            "DAC_READ_SEARCH",
                                            "FOWNER",
                                            "FSETID",
                                            "KILL",
                                            "SETGID",
                                            "SETUID",
                                            "SETPCAP",
                                            "LINUX_IMMUTABLE",
                                            "NET_BIND_SERVICE",
                                            "NET_BROADCAST",
                                            "NET_ADMIN",
                                            "NET_RAW",
                                            "IPC_LOCK",
                                            "IPC_OWNER",
                                            "SYS_MODULE",
                                            "SYS_RAWIO",
                                            "SYS_CHROOT",
                                            "SYS_PTRACE",
                                            "SYS_PACCT",
                                            "SYS_ADMIN",
                                            "SYS_BOOT",
                                            "SYS_NICE",
                                            "SYS_RESOURCE",
                                            "SYS_TIME",
                                            "SYS_TTY_CONFIG",
                                            "MKNOD",
                                            "LEASE",
                                            "AUDIT_WRITE",
                                            "AUDIT_CONTROL",
                                            "SETFCAP",
                                            "MAC_OVERRIDE",
                                            "MAC_ADMIN",
                                            "SYSLOG",
                                            "WAKE_ALARM",
                                            "BLOCK_SUSPEND",
                                            "AUDIT_READ",
                                            "PERFMON",
                                            "BPF",
                                            "CHECKPOINT_RESTORE"};

}  // namespace

std::optional<int> capability_number(std::string_view name) {
  std::string upper;
  for (char c : name) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string_view bare = upper;
  if (bare.starts_with("CAP_")) bare.remove_prefix(4);
  for (size_t i = 0; i < names.size(); ++i)
    if (bare == names[i]) return static_cast<int>(i);
  return std::nullopt;
}

std::string capability_name(int number) {
  return std::string("CAP_") + (number >= 0 && static_cast<size_t>(number) < names.size()
                                    ? names[static_cast<size_t>(number)]
                                    : std::to_string(number).c_str());
}

std::vector<std::string> capability_names(uint64_t set) {
  std::vector<std::string> found;
  for (int i = 0; i < 64; ++i)
    if (set >> i & 1) found.push_back(capability_name(i));
  return found;
}

std::vector<std::string> known_capabilities() {
  return capability_names((uint64_t{1} << names.size()) - 1);
}

uint64_t default_capabilities() {
  uint64_t set = 0;
  for (const char* name : {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
                           "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP"})
    set |= uint64_t{1} << *capability_number(name);
  return set;
}

uint64_t own_bounding_set() {
  uint64_t set = 0;
  for (int i = 0; i < 64; ++i) {
    int held = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
    if (held < 0) break;  // past the kernel's last capability
    if (held) set |= uint64_t{1} << i;
  }
  return set;
}

}  // namespace rayctl::run
