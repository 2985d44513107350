#include "base/child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

extern char** environ;

namespace rayctl {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> found;
  for (const std::string& s : strings) found.push_back(const_cast<char*>(s.c_str()));
  found.push_back(nullptr);
  return found;
}

struct FileActions {
  posix_spawn_file_actions_t value;
  FileActions() { posix_spawn_file_actions_init(&value); }
  ~FileActions() { posix_spawn_file_actions_destroy(&value); }
  FileActions(const FileActions&) = delete;
};

struct Attributes {
  posix_spawnattr_t value;
  Attributes() { posix_spawnattr_init(&value); }
  ~Attributes() { posix_spawnattr_destroy(&value); }
  Attributes(const Attributes&) = delete;
};

Exit from_siginfo(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status};
  return {.signal = info.si_status};
}

}  // namespace

std::string describe(const Exit& exit) {
  if (exit.signal) return fmt::format("killed by signal {} ({})", *exit.signal, strsignal(*exit.signal));
  return fmt::format("exit code {}", exit.code.value_or(-1));
}

Child Child::spawn(const Command& command) {
  // Targets are filled from duplicates above every target number, so that no dup2 overwrites a source.
  int highest = 2;
  for (const auto& [ours, theirs] : command.fds) highest = std::max(highest, theirs);
  std::vector<Fd> held;
  FileActions actions;
  auto place = [&](int ours, int theirs) {
    Fd source = ours < 0 ? open_file("/dev/null", O_RDWR) : Fd{};
    int from = ours < 0 ? source.get() : ours;
    Fd high{check(fcntl(from, F_DUPFD_CLOEXEC, highest + 1), "cannot duplicate a file descriptor")};
    posix_spawn_file_actions_adddup2(&actions.value, high.get(), theirs);
    held.push_back(std::move(high));
  };
  place(command.in, 0);
  place(command.out, 1);
  place(command.err, 2);
  for (const auto& [ours, theirs] : command.fds) place(ours, theirs);
  // Also what we ourselves inherited without O_CLOEXEC.
  posix_spawn_file_actions_addclosefrom_np(&actions.value, highest + 1);
  if (!command.cwd.empty()) posix_spawn_file_actions_addchdir_np(&actions.value, command.cwd.c_str());

  Attributes attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes.value, &none);  // a blocked or ignored signal would be inherited
  posix_spawnattr_setsigdefault(&attributes.value, &all);
  short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
  if (command.new_session) flags |= POSIX_SPAWN_SETSID;
  posix_spawnattr_setflags(&attributes.value, flags);

  auto argv = pointers(command.argv);
  auto env = command.env ? pointers(*command.env) : std::vector<char*>{};
  pid_t pid = -1;
  int rc = posix_spawnp(&pid, argv[0], &actions.value, &attributes.value, argv.data(),
                        command.env ? env.data() : environ);
  if (rc != 0) throw SysError(rc, "cannot run '{}'", command.argv.at(0));
  Fd pidfd{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))};
  Child child{pid, std::move(pidfd)};
  check(child.pidfd(), "cannot watch process {}", pid);
  return child;
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Exit Child::wait() {
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) < 0)
    if (errno != EINTR) throw SysError(errno, "cannot wait for process {}", pid_);
  pid_ = -1;
  return from_siginfo(info);
}

std::optional<Exit> Child::poll() {
  siginfo_t info{};
  check(waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG), "cannot wait for process {}", pid_);
  if (info.si_pid == 0) return std::nullopt;
  pid_ = -1;
  return from_siginfo(info);
}

std::optional<Exit> Child::wait_for(std::chrono::milliseconds time) {
  auto end = std::chrono::steady_clock::now() + time;
  for (;;) {
    if (auto exit = poll()) return exit;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd watched{pidfd_.get(), POLLIN, 0};
    ::poll(&watched, 1, static_cast<int>(std::min<int64_t>(left.count(), 1 << 30)));
  }
}

Exit Child::stop(std::chrono::milliseconds grace) {
  kill(SIGTERM);
  if (auto exit = wait_for(grace)) return *exit;
  kill(SIGKILL);
  return wait();
}

void Child::kill(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);  // not reaped yet, so the pid is still this child's
}

pid_t Child::release() {
  return std::exchange(pid_, -1);
}

Output run_captured(Command command, std::string_view input, size_t limit) {
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  command.in = in.read.get();
  command.out = out.write.get();
  command.err = err.write.get();
  Child child = Child::spawn(command);
  in.read.reset();
  out.write.reset();
  err.write.reset();
  check(fcntl(in.write.get(), F_SETFL, O_NONBLOCK), "cannot set up a pipe");
  if (input.empty()) in.write.reset();

  Output result;
  auto drain = [limit](Fd& fd, std::string& kept) {
    char buffer[16384];
    ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) return;
    if (n <= 0) return fd.reset();
    kept.append(buffer, std::min(static_cast<size_t>(n), limit - std::min(limit, kept.size())));
  };
  while (out.read || err.read) {
    pollfd watched[3] = {
        {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}, {in.write.get(), POLLOUT, 0}};
    if (::poll(watched, 3, -1) < 0) continue;
    if (watched[0].revents) drain(out.read, result.out);
    if (watched[1].revents) drain(err.read, result.err);
    if (watched[2].revents) {
      ssize_t n = write(in.write.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<size_t>(n));
      if ((n < 0 && errno != EAGAIN && errno != EINTR) || input.empty()) in.write.reset();
    }
  }
  result.exit = child.wait();
  return result;
}

}  // namespace rayctl
