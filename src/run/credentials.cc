#include "run/credentials.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "run/capabilities.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

struct CapabilityState {
  uint64_t effective, permitted, inheritable;
};

CapabilityState read_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  check(syscall(SYS_capget, &header, data), "cannot read capabilities");
  auto whole = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  return {whole(data[0].effective, data[1].effective), whole(data[0].permitted, data[1].permitted),
          whole(data[0].inheritable, data[1].inheritable)};
}

void write_capabilities(const CapabilityState& state) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    data[half].effective = static_cast<uint32_t>(state.effective >> (32 * half));
    data[half].permitted = static_cast<uint32_t>(state.permitted >> (32 * half));
    data[half].inheritable = static_cast<uint32_t>(state.inheritable >> (32 * half));
  }
  check(syscall(SYS_capset, &header, data), "cannot set capabilities");
}

std::string names(uint64_t set) {
  std::string text;
  for (const std::string& name : capability_names(set)) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Those of `wanted` that this process may have; what is missing is an error or a warning.
Capabilities grantable(Capabilities wanted, uint64_t held, uint64_t bounding, Strictness strictness,
                       const Warn& warn) {
  uint64_t missing = (wanted.bounding & ~bounding) |
                     ((wanted.permitted | wanted.effective | wanted.inheritable | wanted.ambient) & ~held);
  if (missing) {
    std::string text = fmt::format("cannot grant {}: rayctl itself does not have {}", names(missing),
                                   missing & (missing - 1) ? "them" : "it");
    if (strictness == Strictness::strict) throw Error("{}", text);
    warn(text);
  }
  wanted.bounding &= bounding;
  wanted.permitted &= held;
  wanted.effective &= wanted.permitted;
  wanted.inheritable &= held;
  wanted.ambient &= wanted.permitted & wanted.inheritable;  // the kernel's own condition
  return wanted;
}

int io_class(const std::string& name) {
  static const std::map<std::string, int> classes{{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
                                                  {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
                                                  {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE}};
  auto found = classes.find(name);
  if (found == classes.end()) throw Error("cannot set the I/O priority: unknown class '{}'", name);
  return found->second;
}

// linux/sched/types.h, which clashes with glibc's sched.h.
struct SchedulerAttributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

void apply_scheduler(const Scheduler& scheduler) {
  static const std::map<std::string, uint32_t> policies{
      {"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
      {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
  static const std::map<std::string, uint64_t> flags{
      {"SCHED_FLAG_RESET_ON_FORK", 0x01}, {"SCHED_FLAG_RECLAIM", 0x02},
      {"SCHED_FLAG_DL_OVERRUN", 0x04},    {"SCHED_FLAG_KEEP_POLICY", 0x08},
      {"SCHED_FLAG_KEEP_PARAMS", 0x10},   {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
      {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40}};
  auto policy = policies.find(scheduler.policy);
  if (policy == policies.end())
    throw Error("cannot set the scheduler: unknown policy '{}'", scheduler.policy);
  SchedulerAttributes attributes{.size = sizeof(SchedulerAttributes),
                                 .policy = policy->second,
                                 .nice = scheduler.nice,
                                 .priority = static_cast<uint32_t>(scheduler.priority),
                                 .runtime = scheduler.runtime,
                                 .deadline = scheduler.deadline,
                                 .period = scheduler.period};
  for (const std::string& name : scheduler.flags) {
    auto flag = flags.find(name);
    if (flag == flags.end()) throw Error("cannot set the scheduler: unknown flag '{}'", name);
    attributes.flags |= flag->second;
  }
  check(syscall(SYS_sched_setattr, 0, &attributes, 0), "cannot set the scheduler to '{}'", scheduler.policy);
}

// The process's own directory in that /proc: its number differs from getpid() in a pid namespace.
std::string own_directory(int proc) {
  char target[32];
  ssize_t n = check(readlinkat(proc, "self", target, sizeof target), "cannot read '/proc/self'");
  return {target, static_cast<size_t>(n)};
}

Fd open_own(int proc, const char* file) {
  std::string path = own_directory(proc) + "/" + file;
  open_how how{.flags = O_WRONLY | O_CLOEXEC,
               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
  Fd fd{check(sys::openat2(proc, path.c_str(), how), "cannot open '/proc/self/{}'", file)};
  struct statfs fs;
  check(fstatfs(fd.get(), &fs), "cannot stat '/proc/self/{}'", file);
  if (fs.f_type != PROC_SUPER_MAGIC)
    throw Error("cannot use '/proc/self/{}': it is not on a proc file system", file);
  return fd;
}

}  // namespace

int rlimit_resource(const std::string& type) {
  static const std::map<std::string, int> resources{{"RLIMIT_AS", RLIMIT_AS},
                                                    {"RLIMIT_CORE", RLIMIT_CORE},
                                                    {"RLIMIT_CPU", RLIMIT_CPU},
                                                    {"RLIMIT_DATA", RLIMIT_DATA},
                                                    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                                                    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
                                                    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                                                    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
                                                    {"RLIMIT_NICE", RLIMIT_NICE},
                                                    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                                                    {"RLIMIT_NPROC", RLIMIT_NPROC},
                                                    {"RLIMIT_RSS", RLIMIT_RSS},
                                                    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
                                                    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
                                                    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
                                                    {"RLIMIT_STACK", RLIMIT_STACK}};
  auto found = resources.find(type);
  if (found == resources.end()) throw Error("cannot set rlimit '{}': it is unknown", type);
  return found->second;
}

void apply_rlimits(const std::vector<Rlimit>& limits, Strictness strictness, const Warn& warn) {
  for (const Rlimit& limit : limits) {
    int resource = rlimit_resource(limit.type);
    rlimit wanted{limit.soft, limit.hard};
    if (syscall(SYS_prlimit64, 0, resource, &wanted, nullptr) == 0) continue;
    int code = errno;
    rlimit now{};
    if (code != EPERM || strictness == Strictness::strict ||
        syscall(SYS_prlimit64, 0, resource, nullptr, &now) < 0 || limit.hard <= now.rlim_max)
      throw SysError(code, "cannot set {} to {}:{}", limit.type, limit.soft, limit.hard);
    // Only CAP_SYS_RESOURCE may raise a hard limit, and not every machine's root has it.
    wanted = {std::min<rlim_t>(limit.soft, now.rlim_max), now.rlim_max};
    check(syscall(SYS_prlimit64, 0, resource, &wanted, nullptr), "cannot set {}", limit.type);
    warn(fmt::format("{} is {}:{} instead of {}:{}: rayctl may not raise a hard limit (no CAP_SYS_RESOURCE)",
                     limit.type, wanted.rlim_cur, wanted.rlim_max, limit.soft, limit.hard));
  }
}

void apply_oom_score(int proc, int score, Strictness strictness, const Warn& warn) {
  std::string text = std::to_string(score);
  Fd fd = open_own(proc, "oom_score_adj");
  if (write(fd.get(), text.data(), text.size()) >= 0) return;
  int code = errno;
  if ((code != EACCES && code != EPERM) || strictness == Strictness::strict)
    throw SysError(code, "cannot set oom_score_adj to {}", score);
  warn(fmt::format("oom_score_adj stays as it is: rayctl may not lower it to {} (no CAP_SYS_RESOURCE)",
                   score));
}

Fd open_apparmor(int proc, const std::string& profile) {
  auto enabled = read_file_if_exists("/sys/module/apparmor/parameters/enabled");
  if (!enabled || !enabled->starts_with("Y"))
    throw Error("cannot use AppArmor profile '{}': AppArmor is not enabled on this machine", profile);
  try {
    return open_own(proc, "attr/apparmor/exec");
  } catch (const SysError&) {  // before Linux 5.8
    return open_own(proc, "attr/exec");
  }
}

void change_apparmor(int attribute, const std::string& profile) {
  std::string text = "exec " + profile;
  check(write(attribute, text.data(), text.size()), "cannot use AppArmor profile '{}'", profile);
}

void apply_scheduling(const ProcessSpec& process) {
  if (process.scheduler) apply_scheduler(*process.scheduler);
  if (process.io_priority) {
    int value = IOPRIO_PRIO_VALUE(io_class(process.io_priority->policy), process.io_priority->priority);
    check(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value), "cannot set the I/O priority");
  }
}

int load_filter(const SeccompFilter& filter) {
  sock_fprog program{static_cast<unsigned short>(filter.program.size()),
                     const_cast<sock_filter*>(filter.program.data())};
  return static_cast<int>(check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program),
                                "cannot load the seccomp filter"));
}

void apply_credentials(const ProcessSpec& process, Strictness strictness, const Warn& warn,
                       const std::function<void()>& load) {
  const User& user = process.user;
  for (const std::string& name : process.unknown_capabilities)
    warn(fmt::format("capability '{}' is unknown and left out", name));
  Capabilities sets = grantable(process.capabilities.value_or(Capabilities{}), read_capabilities().permitted,
                                own_bounding_set(), strictness, warn);
  for (int i = 0; i < 64; ++i) {
    if (sets.bounding >> i & 1) continue;
    if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0) {
      if (errno == EINVAL) break;  // past the kernel's last one
      throw SysError(errno, "cannot drop {}", capability_name(i));
    }
  }
  // A filter needs CAP_SYS_ADMIN or no_new_privs: without the latter it must come while we have the former.
  if (!process.no_new_privileges) load();
  check(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "cannot keep capabilities");
  check(syscall(SYS_setgroups, user.additional_gids.size(), user.additional_gids.data()),
        "cannot set the groups");
  check(syscall(SYS_setresgid, user.gid, user.gid, user.gid), "cannot become group {}", user.gid);
  check(syscall(SYS_setresuid, user.uid, user.uid, user.uid), "cannot become user {}", user.uid);
  check(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "cannot reset keeping capabilities");
  // A change of user makes a process non-dumpable or dumpable as suid_dumpable says.
  check(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "cannot protect the process");
  write_capabilities({sets.effective, sets.permitted, sets.inheritable});
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "cannot clear the ambient capabilities");
  for (int i = 0; i < 64; ++i)
    if (sets.ambient >> i & 1)
      check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0), "cannot make {} ambient",
            capability_name(i));
  if (!process.no_new_privileges) return;
  check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "cannot set no_new_privs");
  load();
}

}  // namespace rayctl::run
