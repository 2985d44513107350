// Nothing here allocates: this process stays in every container for its whole life.
#include "run/init.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "run/footprint.h"

namespace rayctl::run {

namespace {

constexpr int not_found = 127, not_executable = 126, usage = 2;

enum class Target { child, group };

void say(const char* what, const char* object, const char* reason) {
  dprintf(2, "rayctl init: cannot %s '%s': %s\n", what, object, reason);
}

// Faults of this program itself: blocking them would hide them.
constexpr int own_faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

sigset_t forwarded() {
  sigset_t set;
  sigfillset(&set);
  for (int fault : own_faults) sigdelset(&set, fault);
  return set;
}

// In the child. A program that finds a signal blocked or ignored at its start keeps it so.
[[noreturn]] void run_child(char** argv, bool terminal) {
  setpgid(0, 0);
  // Still blocked: SIGTTOU would stop a background process that changes the foreground group.
  if (terminal) tcsetpgrp(0, getpid());
  // By the system call: glibc's refuses its own signals 32 and 33, which its posix_spawn leaves ignored.
  unsigned long by_default[4] = {};  // struct kernel_sigaction
  for (int signal = 1; signal < NSIG; ++signal)
    syscall(SYS_rt_sigaction, signal, by_default, nullptr, sizeof(unsigned long));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvp(argv[0], argv);
  int code = errno;
  say("execute", argv[0], strerror(code));
  _exit(code == ENOENT || code == ENOTDIR ? not_found : not_executable);
}

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Reaps whatever has ended; the child's exit code once it is among them, else -1.
int reap(pid_t child) {
  int result = -1;
  for (;;) {
    int status = 0;
    pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended < 0 && errno == EINTR) continue;
    if (ended <= 0) return result;
    if (ended == child) result = exit_code(status);
  }
}

}  // namespace

int init_main(int argc, char** argv) {
  Target target = Target::child;
  int first = 1;
  for (; first < argc && argv[first][0] == '-'; ++first) {
    if (std::strcmp(argv[first], "--") == 0) {
      ++first;
      break;
    }
    if (std::strcmp(argv[first], "-g") != 0) {
      say("start", argv[first], "unknown option (usage: rayctl init [-g] [--] PROGRAM [ARG...])");
      return usage;
    }
    target = Target::group;
  }
  if (first >= argc) {
    say("start", "", "no program (usage: rayctl init [-g] [--] PROGRAM [ARG...])");
    return usage;
  }

  sigset_t signals = forwarded();
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  // When it isn't PID 1, orphans below it would go elsewhere.
  if (getpid() != 1) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  bool terminal = isatty(0) && tcgetsid(0) == getsid(0);

  pid_t child = fork();
  if (child < 0) {
    say("start", argv[first], strerror(errno));
    return not_executable;
  }
  if (child == 0) run_child(argv + first, terminal);
  // Both sides do it: whoever comes first.
  setpgid(child, child);
  release_code_pages();

  for (;;) {
    siginfo_t info{};
    int signal = sigwaitinfo(&signals, &info);
    if (signal < 0) continue;  // EINTR: a stop and continue
    if (signal == SIGCHLD) {
      int result = reap(child);
      if (result >= 0) return result;
      continue;
    }
    // For a process that uses the terminal from the background: never meant for the child.
    if (terminal && (signal == SIGTTIN || signal == SIGTTOU)) continue;
    kill(target == Target::group ? -child : child, signal);
  }
}

}  // namespace rayctl::run
