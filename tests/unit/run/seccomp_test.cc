#include "run/seccomp.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "run/capabilities.h"
#include "run/seccomp_compile.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

// What the kernel would answer: an interpreter of the instructions that seccomp allows.
uint32_t verdict(const SeccompFilter& filter, long number, std::vector<uint64_t> args = {},
                 uint32_t arch = AUDIT_ARCH_X86_64) {
  seccomp_data data{};
  data.nr = static_cast<int>(number);
  data.arch = arch;
  for (size_t i = 0; i < args.size(); ++i) data.args[i] = args[i];
  uint32_t accumulator = 0;
  for (size_t at = 0, steps = 0; at < filter.program.size(); ++at, ++steps) {
    const sock_filter& i = filter.program[at];
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + i.k, 4);
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += accumulator == i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        at += accumulator >= i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        at += accumulator > i.k ? i.jt : i.jf;
        break;
      case BPF_JMP | BPF_JA:
        at += i.k;
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        accumulator &= i.k;
        break;
      case BPF_RET | BPF_K:
        return i.k;
      default:
        FAIL("unexpected instruction " << i.code);
    }
  }
  FAIL("the program has no end");
  return 0;
}

uint32_t refused(int code) {
  return SECCOMP_RET_ERRNO | static_cast<uint32_t>(code);
}

}  // namespace

TEST_CASE("the program compiled at build time is the one that libseccomp compiles now", "[seccomp]") {
  SeccompFilter built = default_seccomp(default_capabilities());
  SeccompFilter now = compile_seccomp(default_seccomp_profile(default_capabilities()));
  REQUIRE(built.program.size() == now.program.size());
  CHECK(std::memcmp(built.program.data(), now.program.data(), now.program.size() * sizeof(sock_filter)) == 0);
  CHECK(built.flags == 0);
}

TEST_CASE("the default profile answers as the engines' does", "[seccomp]") {
  SeccompFilter f = default_seccomp(default_capabilities());
  for (long number : {SYS_read, SYS_execve, SYS_clone, SYS_clone3, SYS_openat2, SYS_futex, SYS_prctl,
                      SYS_arch_prctl, SYS_memfd_create, SYS_shmget, SYS_sched_setaffinity, SYS_chroot})
    CHECK(verdict(f, number) == SECCOMP_RET_ALLOW);
  for (long number : {SYS_bpf, SYS_perf_event_open, SYS_init_module, SYS_kexec_load, SYS_swapon,
                      SYS_open_by_handle_at, SYS_settimeofday, SYS_process_madvise})
    CHECK(verdict(f, number) == refused(EPERM));
  CHECK(verdict(f, 4000) == refused(ENOSYS));
  CHECK(verdict(f, SYS_personality, {0}) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_personality, {0x20008}) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_personality, {1}) != SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_read, {}, AUDIT_ARCH_AARCH64) == SECCOMP_RET_KILL);
  CHECK(verdict(f, 3, {}, AUDIT_ARCH_I386) == SECCOMP_RET_ALLOW);
}

TEST_CASE("capabilities open the calls that they are for", "[seccomp]") {
  auto with = [](const char* name) {
    return default_seccomp(default_capabilities() | uint64_t{1} << *capability_number(name));
  };
  CHECK(verdict(with("CAP_SYS_ADMIN"), SYS_bpf) == SECCOMP_RET_ALLOW);
  CHECK(verdict(with("CAP_SYS_PTRACE"), SYS_process_madvise) == SECCOMP_RET_ALLOW);
  CHECK(verdict(with("CAP_SYS_PTRACE"), SYS_bpf) == refused(EPERM));
  CHECK(verdict(default_seccomp(0), SYS_chroot) == refused(EPERM));
}

TEST_CASE("a profile of the specification", "[seccomp]") {
  SeccompProfile p{
      .default_action = "SCMP_ACT_ALLOW",
      .flags = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"},
      .syscalls = {{.names = {"getcwd", "no_such_call"}, .action = "SCMP_ACT_ERRNO", .errno_ret = 5},
                   {.names = {"chmod"}, .action = "SCMP_ACT_ERRNO"},
                   {.names = {"kill"}, .action = "SCMP_ACT_KILL_PROCESS"},
                   {.names = {"write"},
                    .action = "SCMP_ACT_TRAP",
                    .args = {{0, 7, 0, "SCMP_CMP_EQ"}, {2, 100, 0, "SCMP_CMP_GT"}}},
                   {.names = {"lseek"},
                    .action = "SCMP_ACT_LOG",
                    .args = {{1, 1, 0, "SCMP_CMP_EQ"}, {1, 4, 0, "SCMP_CMP_EQ"}}},
                   {.names = {"ioctl"},
                    .action = "SCMP_ACT_ERRNO",
                    .args = {{1, 0xff00, 0x5400, "SCMP_CMP_MASKED_EQ"}}},
                   {.names = {"read"}, .action = "SCMP_ACT_ALLOW"}}};
  SeccompFilter f = compile_seccomp(p);
  CHECK(f.flags == (SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW));
  CHECK(verdict(f, SYS_getcwd) == refused(5));
  CHECK(verdict(f, SYS_chmod) == refused(EPERM));
  CHECK(verdict(f, SYS_kill) == SECCOMP_RET_KILL_PROCESS);
  CHECK(verdict(f, SYS_write, {7, 0, 101}) == SECCOMP_RET_TRAP);
  CHECK(verdict(f, SYS_write, {7, 0, 100}) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_lseek, {0, 4}) == SECCOMP_RET_LOG);
  CHECK(verdict(f, SYS_lseek, {0, 2}) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_ioctl, {0, 0x5413}) == refused(EPERM));
  CHECK(verdict(f, SYS_read) == SECCOMP_RET_ALLOW);
  CHECK_FALSE(compile_seccomp_for(p, "SCMP_ARCH_AARCH64").program.empty());
}

TEST_CASE("calls that are newer than the profile don't exist", "[seccomp]") {
  SeccompProfile p{.default_action = "SCMP_ACT_ERRNO",
                   .syscalls = {{.names = {"read", "openat2"}, .action = "SCMP_ACT_ALLOW"}}};
  SeccompFilter f = compile_seccomp(p);
  CHECK(verdict(f, SYS_read) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_openat2) == SECCOMP_RET_ALLOW);
  CHECK(verdict(f, SYS_write) == refused(EPERM));
  CHECK(verdict(f, SYS_openat2 + 1) == refused(ENOSYS));
  CHECK(verdict(f, 0x40000000 + SYS_write) == SECCOMP_RET_KILL_THREAD);  // x32: not in the profile
  CHECK(verdict(f, 3, {}, AUDIT_ARCH_I386) == SECCOMP_RET_KILL_THREAD);
  p.default_action = "SCMP_ACT_ALLOW";
  p.syscalls = {{.names = {"read"}, .action = "SCMP_ACT_ERRNO"}};
  CHECK(verdict(compile_seccomp(p), SYS_openat2 + 1) == SECCOMP_RET_ALLOW);
}

TEST_CASE("a rule that notifies gives the filter a listener", "[seccomp]") {
  SeccompFilter f = compile_seccomp({.default_action = "SCMP_ACT_ALLOW",
                                     .flags = {"SECCOMP_FILTER_FLAG_TSYNC"},
                                     .syscalls = {{.names = {"mkdir"}, .action = "SCMP_ACT_NOTIFY"}},
                                     .listener_path = "/run/agent.sock"});
  CHECK(f.has_listener());
  CHECK(f.flags == SECCOMP_FILTER_FLAG_NEW_LISTENER);
  CHECK(verdict(f, SYS_mkdir) == SECCOMP_RET_USER_NOTIF);
  CHECK(verdict(f, SYS_rmdir) == SECCOMP_RET_ALLOW);
  CHECK_FALSE(compile_seccomp({.default_action = "SCMP_ACT_ALLOW", .listener_path = "/run/agent.sock"})
                  .has_listener());
}

TEST_CASE("what a profile can't mean is an error", "[seccomp]") {
  auto compile = [](const SeccompProfile& p) { return compile_seccomp(p); };
  std::string at = "cannot compile the seccomp profile: ";
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_MAYBE"}), at + "unknown action 'SCMP_ACT_MAYBE'");
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_NOTIFY"}),
                    at + "SCMP_ACT_NOTIFY can't be the default action");
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_ALLOW",
                             .syscalls = {{.names = {"mkdir"}, .action = "SCMP_ACT_NOTIFY"}}}),
                    at + "action 'SCMP_ACT_NOTIFY' needs listenerPath, an agent's socket");
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_ALLOW", .default_errno = 1}),
                    at + "action 'SCMP_ACT_ALLOW' takes no errnoRet");
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_ALLOW", .architectures = {"SCMP_ARCH_VAX"}}),
                    at + "unknown architecture 'SCMP_ARCH_VAX'");
  CHECK_THROWS_WITH(
      compile({.default_action = "SCMP_ACT_ALLOW", .flags = {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}}),
      at + "flag 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV' needs a rule of SCMP_ACT_NOTIFY");
  CHECK_THROWS_WITH(compile({.default_action = "SCMP_ACT_ALLOW",
                             .syscalls = {{.names = {"read"},
                                           .action = "SCMP_ACT_ERRNO",
                                           .args = {{6, 0, 0, "SCMP_CMP_EQ"}}}}}),
                    at + "system calls have no argument 6");
  CHECK_THROWS_WITH(
      compile({.default_action = "SCMP_ACT_ALLOW",
               .syscalls = {{.names = {"read"}, .action = "SCMP_ACT_ERRNO", .args = {{0, 0, 0, "EQ"}}}}}),
      at + "unknown comparison 'EQ'");
}
