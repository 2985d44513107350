// The process's side of daemon.h.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

#include "base/daemon.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl {

namespace {

constexpr off_t log_limit = 1 << 20;

// From here on the process says what it has to say to its log.
void leave_terminal(const std::string& log) {
  Fd fd = open_file(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
  struct stat info;
  if (fstat(fd.get(), &info) == 0 && info.st_size > log_limit && ftruncate(fd.get(), 0) < 0)
    throw SysError(errno, "cannot cut '{}'", log);
  Fd null = open_file("/dev/null", O_RDWR);
  dup2(null.get(), 0);
  dup2(null.get(), 1);
  dup2(fd.get(), 2);
}

void raise_file_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

DirectoryWatch::DirectoryWatch()
    : fd_(check(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "cannot watch files")) {}

void DirectoryWatch::add(const std::string& directory) {
  inotify_add_watch(fd_.get(), directory.c_str(),
                    IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR);
}

void DirectoryWatch::drain() {
  alignas(inotify_event) std::array<char, 16384> buffer;
  while (read(fd_.get(), buffer.data(), buffer.size()) > 0) {
  }
}

std::string directory_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

int daemon_main(int argc, char** argv, std::string_view word,
                const std::function<void(const DaemonStart&, const std::function<void()>&)>& serve) {
  DaemonStart start;
  for (int i = 1; i < argc; ++i) {
    std::string_view option = argv[i];
    if (option == "--dir" && i + 1 < argc) {
      start.directory = absolute(argv[++i]);
    } else if (option == "--replace" && i + 1 < argc) {
      start.predecessor = atoi(argv[++i]);
    } else {
      start.directory.clear();
      break;
    }
  }
  if (start.directory.empty()) {
    log_failure(
        fmt::format("usage: rayctl {} --dir DIRECTORY [--replace PID] (started by rayctl node)", word));
    return static_cast<int>(ExitCode::usage);
  }
  // It lives for long: what it was given by accident would live as long.
  syscall(SYS_close_range, 3, UINT_MAX, 0);
  Pipe ready;  // closed after a failure was told: our parent ends with it
  try {
    ready = make_pipe();
    pid_t pid = check(fork(), "cannot fork");
    if (pid > 0) {  // ends with success once the child serves, so that its parent needn't poll
      ready.write.reset();
      char byte;
      return read(ready.read.get(), &byte, 1) == 1 ? 0 : 1;
    }
    setsid();
    check(chdir("/"), "cannot leave the working directory");
    raise_file_limit();
    ready.read.reset();
    serve(start, [&] {
      set_log({.timestamps = true});
      leave_terminal(daemon_files(start.directory).log);
      write_fd(ready.write.get(), "y", "pipe");
      ready.write.reset();
    });
    return 0;
  } catch (const std::exception& error) {
    log_failure(error.what());
    return 1;
  }
}

}  // namespace rayctl
