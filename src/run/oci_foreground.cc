// A container or an exec in the foreground: signals, terminal, exit code.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#include <csignal>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "run/oci_commands.h"
#include "run/syscalls.h"

namespace rayctl::run::oci {

namespace {

// Our own terminal passes every key on while this lives.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(STDIN_FILENO, &before_) < 0) return;
    termios raw = before_;
    cfmakeraw(&raw);
    changed_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  RawTerminal(const RawTerminal&) = delete;
  ~RawTerminal() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }

 private:
  termios before_{};
  bool changed_ = false;
};

void copy_window_size(int master) {
  winsize size{};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) ioctl(master, TIOCSWINSZ, &size);
}

// One read, written whole; false at the end.
bool pass(int from, int to) {
  char buffer[16384];
  ssize_t n = read(from, buffer, sizeof buffer);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (n == 0) return false;
  write_fd(to, {buffer, static_cast<size_t>(n)}, "the terminal");
  return true;
}

}  // namespace

int attend(const Process& process) {
  sigset_t all;
  sigfillset(&all);
  for (int signal : {SIGCHLD, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU})
    sigdelset(&all, signal);
  sigprocmask(SIG_BLOCK, &all, nullptr);
  Fd signals{check(signalfd(-1, &all, SFD_CLOEXEC), "cannot watch signals")};
  int master = process.terminal.get();
  std::optional<RawTerminal> raw;
  if (process.terminal) {
    raw.emplace();
    copy_window_size(master);
  }
  bool input = process.terminal.get() >= 0, output = input;
  for (;;) {
    pollfd watched[4] = {{process.pidfd.get(), POLLIN, 0},
                         {signals.get(), POLLIN, 0},
                         {output ? master : -1, POLLIN, 0},
                         {input ? STDIN_FILENO : -1, POLLIN, 0}};
    if (poll(watched, 4, -1) < 0) continue;
    if (watched[1].revents) {
      signalfd_siginfo info{};
      if (read(signals.get(), &info, sizeof info) != sizeof info) continue;
      int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGWINCH && process.terminal)
        copy_window_size(master);
      else
        sys::pidfd_send_signal(process.pidfd.get(), signal);
    }
    if (watched[2].revents) output = pass(master, STDOUT_FILENO);
    if (watched[3].revents) input = pass(STDIN_FILENO, master);
    if (!watched[0].revents) continue;
    // What the terminal still holds; EIO once the last one has closed the other side.
    while (output) {
      pollfd rest{master, POLLIN, 0};
      if (poll(&rest, 1, 100) <= 0) break;
      output = pass(master, STDOUT_FILENO);
    }
    Exit exit = wait_for(process);
    return exit.signal ? 128 + *exit.signal : exit.code.value_or(255);
  }
}

}  // namespace rayctl::run::oci
