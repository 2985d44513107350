// dns_main() of dns_process.h: the process that serves.
#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "net/dns_files.h"
#include "net/dns_process.h"
#include "net/dns_server.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds retry_pause{1000};  // a namespace that couldn't be served
constexpr std::chrono::milliseconds lock_pause{20};     // until the predecessor is gone
constexpr int lock_tries = 10;
constexpr std::chrono::milliseconds handover_limit{6000};
constexpr std::chrono::milliseconds drain_limit{5000};  // what a forwarded query may take
constexpr off_t log_limit = 1 << 20;

// A directory watched for changes of some of its files, which may be replaced by rename.
class DirectoryWatch {
 public:
  DirectoryWatch() : fd_(check(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "cannot watch files")) {}
  int fd() const { return fd_.get(); }

  // A directory that isn't there yet can't be watched; the next reload tries again.
  void add(const std::string& directory) {
    inotify_add_watch(fd_.get(), directory.c_str(),
                      IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR);
  }
  void drain() {
    alignas(inotify_event) std::array<char, 16384> buffer;
    while (read(fd_.get(), buffer.data(), buffer.size()) > 0) {
    }
  }

 private:
  Fd fd_;
};

std::string directory_of(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

class Daemon {
 public:
  Daemon(std::string directory, pid_t predecessor)
      : files_(dns_files(directory)),
        directory_(std::move(directory)),
        predecessor_(predecessor),
        server_(poller_) {
    watch_.add(directory_);
    // Our open log pins a removed directory, which then never says that it is gone; its parent does.
    watch_.add(directory_of(directory_));
    poller_.watch(watch_.fd(), EPOLLIN, [this](uint32_t) {
      watch_.drain();
      reload();
    });
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    check(sigprocmask(SIG_BLOCK, &signals, nullptr), "cannot block signals");
    signals_ = Fd{check(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), "cannot wait for signals")};
    poller_.watch(signals_.get(), EPOLLIN, [this](uint32_t) { stop_ = true; });
    if (predecessor_ == 0) {
      for (int i = 0; i < lock_tries && !lock_; ++i) {  // someone may just be looking whether it is held
        if (i > 0) std::this_thread::sleep_for(lock_pause);
        lock_ = FileLock::try_lock(files_.lock, LockKind::exclusive);
      }
      if (!lock_) throw Error("cannot serve names: another process holds '{}'", files_.lock);
    }
    reload();
  }

  // Once everything is bound: the predecessor may go, and whoever waits may go on.
  void take_over() {
    if (predecessor_ != 0) {
      kill(predecessor_, SIGTERM);
      handover_end_ = Poller::Clock::now() + handover_limit;
      wait_for_lock();
    }
  }

  void run() {
    while (!stop_) poller_.run_once();
    server_.drain();
    lock_.reset();
    auto end = Poller::Clock::now() + drain_limit;
    uint64_t timer = poller_.at(end, [] {});
    while (server_.in_flight() > 0 && Poller::Clock::now() < end) poller_.run_once();
    poller_.cancel(timer);
  }

 private:
  struct Served {
    dev_t device;
    ino_t inode;
  };

  void wait_for_lock() {
    lock_ = FileLock::try_lock(files_.lock, LockKind::exclusive);
    if (lock_) {
      publish();
      return;
    }
    if (Poller::Clock::now() > handover_end_) kill(predecessor_, SIGKILL);
    poller_.at(Poller::Clock::now() + lock_pause, [this] { wait_for_lock(); });
  }

  void reload() {
    if (!exists(directory_)) {  // `node reset`
      stop_ = true;
      return;
    }
    read_table();
    server_.set_upstreams(upstreams());
    watch_.add(directory_of(table_.resolv_conf));
    watch_.add("/run/systemd/resolve");
    serve_namespaces();
    publish();
  }

  void read_table() {
    try {
      auto text = read_file_if_exists(files_.table);
      if (!text) return;  // not written yet, or being removed: go on with what there is
      table_ = parse_dns_table(*text, files_.table);
      server_.set_table(table_);
      table_error_.clear();
    } catch (const Error& error) {
      if (table_error_ != error.message()) warn("{}", error.message());
      table_error_ = error.message();
    }
  }

  std::vector<Upstream> upstreams() const {
    if (table_.upstreams.empty()) return read_upstreams(table_.resolv_conf);
    std::vector<Upstream> servers;
    for (const std::string& text : table_.upstreams) servers.push_back(parse_upstream(text));
    return servers;
  }

  void serve_namespaces() {
    std::set<std::string> wanted;
    errors_.clear();
    for (const DnsNamespace& container : table_.containers) {
      wanted.insert(container.id);
      try {
        watch_.add(directory_of(container.netns));
        Netns netns = Netns::open(container.netns);
        struct stat info;
        check(fstat(netns.fd(), &info), "cannot stat '{}'", container.netns);
        auto found = served_.find(container.id);
        if (found != served_.end() && found->second.device == info.st_dev &&
            found->second.inode == info.st_ino)
          continue;
        // The old sockets go first: under one path there is one namespace.
        drop(container.id);
        server_.add(container.id, bind_dns(netns, container_resolver()));
        served_[container.id] = {info.st_dev, info.st_ino};
      } catch (const Error& error) {
        drop(container.id);
        errors_[container.id] = error.message();
      }
    }
    for (auto it = served_.begin(); it != served_.end();) {
      std::string id = (it++)->first;
      if (!wanted.contains(id)) drop(id);
    }
    poller_.cancel(retry_);
    retry_ = errors_.empty() ? 0 : poller_.at(Poller::Clock::now() + retry_pause, [this] { reload(); });
  }

  void drop(const std::string& id) {
    if (served_.erase(id)) server_.remove(id);
  }

  void publish() {
    if (!lock_) return;  // the predecessor's status stands until it is gone
    nlohmann::json serving = nlohmann::json::array(), errors = errors_;
    for (const auto& entry : served_) serving.push_back(entry.first);
    if (!table_error_.empty()) errors["table"] = table_error_;
    nlohmann::json document = {
        {"pid", getpid()},         {"version", version()}, {"mounts", mount_namespace()},
        {"table", table_.version}, {"serving", serving},   {"errors", errors}};
    std::string text = document.dump() + "\n";
    if (text == published_) return;
    published_ = text;
    // No fsync: it is of no use after a reboot, and the supervisor waits for it.
    write_status(files_.status, text);
  }

  static void write_status(const std::string& path, const std::string& text) {
    std::string temporary = path + ".tmp";
    {
      Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
      write_fd(fd.get(), text, temporary);
    }
    check(rename(temporary.c_str(), path.c_str()), "cannot replace '{}'", path);
  }

  DnsFiles files_;
  std::string directory_;
  pid_t predecessor_;
  Poller poller_;
  DnsServer server_;
  DirectoryWatch watch_;
  Fd signals_;
  std::optional<FileLock> lock_;
  Poller::Clock::time_point handover_end_ = {};
  DnsTable table_;
  std::string table_error_;
  std::map<std::string, Served> served_;
  std::map<std::string, std::string> errors_;
  uint64_t retry_ = 0;
  std::string published_;
  bool stop_ = false;
};

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

int dns_main(int argc, char** argv) {
  std::string directory;
  pid_t predecessor = 0;
  for (int i = 1; i < argc; ++i) {
    std::string_view word = argv[i];
    if (word == "--dir" && i + 1 < argc) {
      directory = absolute(argv[++i]);
    } else if (word == "--replace" && i + 1 < argc) {
      predecessor = atoi(argv[++i]);
    } else {
      directory.clear();
      break;
    }
  }
  if (directory.empty()) {
    log_failure("usage: rayctl dns --dir DIRECTORY [--replace PID] (started by rayctl node)");
    return static_cast<int>(ExitCode::usage);
  }
  // It lives for long: what it was given by accident would live as long.
  syscall(SYS_close_range, 3, UINT_MAX, 0);
  try {
    Pipe ready = make_pipe();
    pid_t pid = check(fork(), "cannot fork");
    if (pid > 0) {  // ends with success once names are served, so that its parent needn't poll
      ready.write.reset();
      char byte;
      return read(ready.read.get(), &byte, 1) == 1 ? 0 : 1;
    }
    setsid();
    check(chdir("/"), "cannot leave the working directory");
    raise_file_limit();
    Daemon daemon(directory, predecessor);
    set_log({.timestamps = true});
    leave_terminal(dns_files(directory).log);
    daemon.take_over();
    write_fd(ready.write.get(), "y", "pipe");
    ready.write.reset();
    ready.read.reset();
    daemon.run();
    return 0;
  } catch (const std::exception& error) {
    log_failure(error.what());
    return 1;
  }
}

}  // namespace rayctl::net
