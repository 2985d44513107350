#include "run/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <charconv>
#include <csignal>

#include "base/error.h"
#include "base/file.h"
#include "run/cgroup.h"
#include "run/container.h"
#include "run/sealed.h"
#include "run/sync.h"
#include "run/syscalls.h"

namespace rayctl::run {

namespace {

constexpr int spec_fd = 3, report_fd = 4, first_stdio = 5;

// Waits for the container, or for the one who wanted it to go away.
Exit watch(const Process& process, const std::optional<Cgroup>& cgroup) {
  for (;;) {
    pollfd watched[2] = {{process.pidfd.get(), POLLIN, 0}, {report_fd, 0, 0}};
    if (poll(watched, 2, -1) < 0) continue;
    if (watched[1].revents) {
      sys::pidfd_send_signal(process.pidfd.get(), SIGKILL);
      if (cgroup) cgroup->kill();
      return wait_for(process);
    }
    if (watched[0].revents) return wait_for(process);
  }
}

Exit launch() {
  Spec spec = parse_spec(Json::parse(read_fd(spec_fd, "the specification"), "spec"));
  if (spec.process.terminal) throw Error("cannot run in the foreground: a terminal needs a shim");
  std::optional<Cgroup> cgroup;
  if (!spec.linux_.cgroups_path.empty())
    cgroup = Cgroup::create(spec.linux_.cgroups_path, spec.linux_.resources, MissingController::warn);
  StartOptions options{.id = "run", .stdio = {first_stdio, first_stdio + 1, first_stdio + 2}};
  if (cgroup) options.cgroup = cgroup->entry();
  std::optional<Exit> exit;
  try {
    exit = watch(start_container(spec, options), cgroup);
  } catch (...) {
    if (cgroup) cgroup->remove();
    throw;
  }
  if (cgroup) {
    cgroup->kill();  // without a pid namespace, PID 1 takes nobody along
    cgroup->remove();
  }
  return *exit;
}

std::string to_report(const Exit& exit) {
  return exit.signal ? fmt::format("s{}", *exit.signal) : fmt::format("c{}", exit.code.value_or(255));
}

Exit from_report(const std::string& text) {
  int number = 0;
  std::from_chars(text.data() + 1, text.data() + text.size(), number);
  if (text.starts_with("s")) return {.signal = number};
  return {.code = number};
}

Fd specification(const Spec& spec) {
  Fd memory{check(memfd_create("spec", MFD_CLOEXEC), "cannot make a memory file")};
  write_fd(memory.get(), to_text(spec), "the specification");
  check(lseek(memory.get(), 0, SEEK_SET), "cannot rewind a memory file");
  return memory;
}

}  // namespace

int launcher_main(int, char**) {
  try {
    Exit exit = launch();
    send_message(report_fd, Sync::ended, to_report(exit));
    return 0;
  } catch (const std::exception& e) {
    try {
      send_message(report_fd, Sync::failure, e.what());
    } catch (const std::exception&) {  // nobody listens any more
    }
    return 1;
  }
}

Exit run_to_end(const Spec& spec, const Stdio& stdio, const std::string& run_dir,
                const std::function<bool()>& interrupted) {
  SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
  Fd memory = specification(spec);
  Child launcher = Child::spawn({.argv = {sealed_binary(run_dir), "launch"},
                                 .in = -1,
                                 .fds = {{memory.get(), spec_fd},
                                         {sockets.second.get(), report_fd},
                                         {stdio.in, first_stdio},
                                         {stdio.out, first_stdio + 1},
                                         {stdio.err, first_stdio + 2}},
                                 .new_session = true});
  sockets.second.reset();
  for (;;) {
    pollfd watched{sockets.first.get(), POLLIN, 0};
    int ready = poll(&watched, 1, interrupted ? 100 : -1);
    if (ready <= 0 || !watched.revents) {
      if (!interrupted || !interrupted()) continue;
      sockets.first.reset();  // tells the launcher to kill the container
      launcher.wait();
      throw Interrupted();
    }
    auto message = receive_message(sockets.first.get());
    Exit exit = launcher.wait();
    if (!message) throw Error("cannot run the container: its launcher ended early ({})", describe(exit));
    if (message->kind == Sync::failure) throw Error("{}", message->text);
    return from_report(message->text);
  }
}

}  // namespace rayctl::run
