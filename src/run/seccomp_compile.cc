#include "run/seccomp_compile.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/fd.h"

namespace rayctl::run {

namespace {

using Context = std::unique_ptr<void, decltype([](void* c) { seccomp_release(c); })>;

struct Name {
  const char* name;
  uint32_t value;
};

constexpr Name architectures[] = {
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
    {"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
    {"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
    {"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
    {"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
    {"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
    {"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
    {"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
    {"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
    {"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
    {"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
    {"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
    {"SCMP_ARCH_S390", SCMP_ARCH_S390},
    {"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
    {"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
    {"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
    {"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
};

constexpr Name comparisons[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

#if defined(__x86_64__)
constexpr uint32_t native_audit_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t native_audit_arch = AUDIT_ARCH_AARCH64;
#endif

// linux/seccomp.h
constexpr Name flag_names[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", 1},
    {"SECCOMP_FILTER_FLAG_LOG", 2},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", 4},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 32},
};

template <size_t N>
uint32_t value_of(const Name (&names)[N], std::string_view name, std::string_view what) {
  for (const Name& n : names)
    if (name == n.name) return n.value;
  throw Error("cannot compile the seccomp profile: unknown {} '{}'", what, name);
}

uint32_t action_of(std::string_view name, std::optional<uint32_t> errno_ret) {
  // The specification's default is EPERM.
  uint32_t number = errno_ret.value_or(EPERM);
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(number);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(number);
  if (errno_ret) throw Error("cannot compile the seccomp profile: action '{}' takes no errnoRet", name);
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_NOTIFY") return SCMP_ACT_NOTIFY;
  throw Error("cannot compile the seccomp profile: unknown action '{}'", name);
}

// libseccomp returns -errno.
void demand(int rc, std::string_view what) {
  if (rc < 0) throw SysError(-rc, "cannot compile the seccomp profile: {}", what);
}

void add_rule(void* context, const SeccompRule& rule, uint32_t action) {
  std::vector<scmp_arg_cmp> all;
  std::set<uint32_t> indices;
  for (const SeccompArg& arg : rule.args) {
    if (arg.index > 5)
      throw Error("cannot compile the seccomp profile: system calls have no argument {}", arg.index);
    scmp_arg_cmp comparison{};
    comparison.arg = arg.index;
    comparison.op = static_cast<scmp_compare>(value_of(comparisons, arg.op, "comparison"));
    comparison.datum_a = arg.value;
    comparison.datum_b = arg.value_two;
    all.push_back(comparison);
    indices.insert(arg.index);
  }
  for (const std::string& name : rule.names) {
    int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) continue;
    // libseccomp takes each argument once; engines read several conditions on one argument as alternatives.
    if (indices.size() == all.size()) {
      demand(seccomp_rule_add_array(context, action, number, static_cast<unsigned>(all.size()), all.data()),
             name);
    } else {
      for (const scmp_arg_cmp& one : all)
        demand(seccomp_rule_add_array(context, action, number, 1, &one), name);
    }
  }
}

bool notifies(const SeccompProfile& profile) {
  return std::any_of(profile.syscalls.begin(), profile.syscalls.end(),
                     [](const SeccompRule& rule) { return rule.action == "SCMP_ACT_NOTIFY"; });
}

void check_agent(const SeccompProfile& profile, unsigned& flags) {
  if (profile.default_action == "SCMP_ACT_NOTIFY")
    throw Error("cannot compile the seccomp profile: SCMP_ACT_NOTIFY can't be the default action");
  bool waits = flags & value_of(flag_names, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "flag");
  if (!notifies(profile)) {
    if (waits)
      throw Error(
          "cannot compile the seccomp profile: flag 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV' needs a rule of "
          "SCMP_ACT_NOTIFY");
    return;
  }
  if (profile.listener_path.empty())
    throw Error(
        "cannot compile the seccomp profile: action 'SCMP_ACT_NOTIFY' needs listenerPath, an agent's socket");
  // The kernel takes both only on later versions, and a process that is about to execute has one thread.
  flags &= ~value_of(flag_names, "SECCOMP_FILTER_FLAG_TSYNC", "flag");
  flags |= SeccompFilter::new_listener;
}

// Programs try system calls and fall back when they get ENOSYS; a profile that was written before a call
// existed would answer EPERM or kill, so no newer C library could run under it. What is newer than every call
// that the profile names doesn't exist for its program: this goes before the filter.
void add_unknown_calls(const SeccompProfile& profile, SeccompFilter& filter) {
  const std::string& action = profile.default_action;
  if (action == "SCMP_ACT_ALLOW" || action == "SCMP_ACT_LOG" || action == "SCMP_ACT_TRACE" ||
      profile.default_errno == ENOSYS)
    return;
  int newest = -1;
  for (const SeccompRule& rule : profile.syscalls)
    for (const std::string& name : rule.names)
      newest = std::max(newest, seccomp_syscall_resolve_name(name.c_str()));
  if (newest < 0) return;
  constexpr uint32_t x32_bit = 0x40000000;  // another table of calls under the same architecture
  const sock_filter stub[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, native_audit_arch, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, x32_bit, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, static_cast<uint32_t>(newest), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
  };
  filter.program.insert(filter.program.begin(), std::begin(stub), std::end(stub));
}

}  // namespace

SeccompFilter compile_seccomp_for(const SeccompProfile& profile, std::string_view architecture) {
  SeccompFilter filter;
  for (const std::string& flag : profile.flags) {
    filter.flags |= value_of(flag_names, flag, "flag");
  }
  check_agent(profile, filter.flags);
  uint32_t default_action = action_of(profile.default_action, profile.default_errno);
  Context context{seccomp_init(default_action)};
  if (!context)
    throw Error("cannot compile the seccomp profile: default action '{}' is not possible",
                profile.default_action);
  // A binary tree of the numbers: few steps for each system call.
  demand(seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimisation");
  uint32_t native = seccomp_arch_native();
  if (!architecture.empty() && value_of(architectures, architecture, "architecture") != native) {
    demand(seccomp_arch_add(context.get(), value_of(architectures, architecture, "architecture")),
           architecture);
    demand(seccomp_arch_remove(context.get(), native), "architecture");
  }
  for (const std::string& name : profile.architectures) {
    int rc = seccomp_arch_add(context.get(), value_of(architectures, name, "architecture"));
    if (rc != -EEXIST) demand(rc, name);
  }
  for (const SeccompRule& rule : profile.syscalls) {
    uint32_t action = action_of(rule.action, rule.errno_ret);
    if (action != default_action)
      add_rule(context.get(), rule, action);  // libseccomp refuses the default again
  }

  Fd memory{check(memfd_create("seccomp", MFD_CLOEXEC), "cannot make a memory file")};
  demand(seccomp_export_bpf(context.get(), memory.get()), "export");
  struct stat info;
  check(fstat(memory.get(), &info), "cannot read the compiled seccomp profile");
  filter.program.resize(static_cast<size_t>(info.st_size) / sizeof(sock_filter));
  if (pread(memory.get(), filter.program.data(), static_cast<size_t>(info.st_size), 0) != info.st_size)
    throw Error("cannot read the compiled seccomp profile");
  if (architecture.empty()) add_unknown_calls(profile, filter);
  if (filter.program.size() > BPF_MAXINSNS)
    throw Error("cannot compile the seccomp profile: {} instructions, the kernel takes {}",
                filter.program.size(), BPF_MAXINSNS);
  return filter;
}

}  // namespace rayctl::run
