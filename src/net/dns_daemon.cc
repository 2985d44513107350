// dns_main() of dns_process.h: the process that serves.
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/daemon.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "net/dns_process.h"
#include "net/dns_server.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds retry_pause{1000};  // a namespace that couldn't be served
constexpr std::chrono::milliseconds lock_pause{20};     // until the predecessor is gone
constexpr int lock_tries = 10;
constexpr std::chrono::milliseconds handover_limit{6000};
constexpr std::chrono::milliseconds drain_limit{5000};  // what a forwarded query may take

class Daemon {
 public:
  Daemon(std::string directory, pid_t predecessor)
      : files_(daemon_files(directory)),
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
    replace_volatile(files_.status, text);
  }

  DaemonFiles files_;
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

}  // namespace

int dns_main(int argc, char** argv) {
  return daemon_main(argc, argv, "dns", [](const DaemonStart& start, const std::function<void()>& ready) {
    Daemon daemon(start.directory, start.predecessor);
    daemon.take_over();
    ready();
    daemon.run();
  });
}

}  // namespace rayctl::net
