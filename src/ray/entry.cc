#include "ray/entry.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "ray/lookup.h"
#include "ray/start.h"

namespace rayctl::ray {

namespace {

using namespace std::chrono_literals;
constexpr auto poll_interval = 250ms;
constexpr auto connect_timeout = 1000ms;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// One line to the container's log, whole.
template <class... A>
void say(fmt::format_string<A...> format, A&&... args) {
  write_fd(STDOUT_FILENO, fmt::format(format, std::forward<A>(args)...) + "\n", "stdout");
}

bool connects(const std::string& address, uint16_t port) {
  Fd socket_fd{socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (!socket_fd || inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) return false;
  if (connect(socket_fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd waiting{socket_fd.get(), POLLOUT, 0};
  if (poll(&waiting, 1, static_cast<int>(connect_timeout.count())) != 1) return false;
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(socket_fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

// The signals that end us, as an fd; blocked for us, not for children (Child resets the mask).
Fd block_signals(sigset_t& set) {
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&set, number);
  check(sigprocmask(SIG_BLOCK, &set, nullptr), "cannot block signals");
  return Fd{check(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "cannot watch signals")};
}

class Entry {
 public:
  explicit Entry(cluster::MemberRole role) : role_(role), signals_(block_signals(signal_set_)) {}

  int run() {
    read_plan();
    std::string own = own_name();
    auto address = wait_for_name(own);
    if (!address) return 128 + ended_by_;
    own_address_ = *address;
    if (role_ == cluster::MemberRole::worker) {
      auto head = wait_for_name(host_of(head_address_));
      if (!head) return 128 + ended_by_;
      if (!wait_for_head(*head)) return 128 + ended_by_;
    } else {
      say("Starting scheduler");
    }
    say("Starting node");
    Child ray = Child::spawn({.argv = start_});
    return follow(ray);
  }

 private:
  void read_plan() {
    std::string lines = variable(start_variable);
    if (lines.empty())
      throw Error("cannot start Ray: {} is not set (the supervisor sets it)", start_variable);
    start_ = split(lines, '\n');
    head_address_ = variable("RAY_ADDRESS");
    if (head_address_.empty()) throw Error("cannot start Ray: RAY_ADDRESS is not set");
    if (role_ == cluster::MemberRole::head) {
      for (const std::string& name : split(variable("WORKERHOST"), ','))
        if (!name.empty()) missing_.push_back(name);
      job_ = variable("JOB");
    } else if (variable("HEADHOST").empty()) {
      throw Error("cannot start Ray: no HEADHOST environment variable specified");
    }
  }

  static std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

  static uint16_t port_of(const std::string& address) {
    return static_cast<uint16_t>(std::atoi(address.substr(address.rfind(':') + 1).c_str()));
  }

  static std::string own_name() {
    char name[256] = {};
    check(gethostname(name, sizeof name - 1), "cannot read the host name");
    return name;
  }

  // Sleeps one interval; false when a signal asks to end.
  bool pause() {
    pollfd waiting{signals_.get(), POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(poll_interval.count())) <= 0) return true;
    ended_by_ = next_signal();
    return false;
  }

  int next_signal() {
    signalfd_siginfo info{};
    return read(signals_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo)
                                                                   : SIGTERM;
  }

  std::optional<std::string> wait_for_name(const std::string& name) {
    say("Waiting for {}", name);
    for (;;) {
      if (auto address = lookup_ipv4(name)) {
        say("Network up! [{}]", *address);
        return address;
      }
      if (!pause()) return std::nullopt;
    }
  }

  bool wait_for_head(std::string address) {
    bool said = false;
    while (!connects(address, port_of(head_address_))) {
      if (!said) say("Waiting for Ray at {}", head_address_);
      said = true;
      if (!pause()) return false;
      if (auto now = lookup_ipv4(host_of(head_address_))) address = *now;
    }
    return true;
  }

  // Lives beside Ray until it ends.
  int follow(Child& ray) {
    for (;;) {
      bool busy = role_ == cluster::MemberRole::head && (!announced_ || !missing_.empty());
      pollfd waiting[3] = {{signals_.get(), POLLIN, 0},
                           {ray.pidfd(), POLLIN, 0},
                           {job_child_ ? job_child_->pidfd() : -1, POLLIN, 0}};
      poll(waiting, 3, busy ? static_cast<int>(poll_interval.count()) : -1);
      if (waiting[0].revents) {
        int number = next_signal();
        ray.kill(number);
        if (job_child_) job_child_->kill(number);
      }
      if (waiting[2].revents) end_job();
      if (auto exit = ray.poll()) {
        say("Ray ended: {}", describe(*exit));
        return exit->signal ? 128 + *exit->signal : exit->code.value_or(1);
      }
      if (busy) look_around();
    }
  }

  // The head's slow work, one look at a time: none of it may delay Ray or a signal.
  void look_around() {
    if (!announced_) {
      if (!connects(own_address_, port_of(head_address_))) return;
      write_fd(STDOUT_FILENO, init_block(own_address_, port_of(head_address_)), "stdout");
      announced_ = true;
      write_nodes();
      if (missing_.empty()) start_job();
      return;
    }
    for (auto it = missing_.begin(); it != missing_.end();) {
      if (waiting_said_.emplace(*it, true).second) say("Waiting for {}", *it);
      auto address = lookup_ipv4(*it);
      if (!address || !connects(*address, Ports{}.node_manager)) {
        ++it;
        continue;
      }
      say("Network up! [{}]", *address);
      workers_[*it] = *address;
      it = missing_.erase(it);
      write_nodes();
    }
    if (missing_.empty()) start_job();
  }

  // The head's address, then the workers', one a line, in WORKERHOST's order, as the 2016 image wrote it.
  void write_nodes() {
    std::string text = own_address_ + "\n";
    for (const std::string& name : split(variable("WORKERHOST"), ','))
      if (auto it = workers_.find(name); it != workers_.end()) text += it->second + "\n";
    try {
      std::string directory = join(variable("HOME"), "ray/scripts");
      make_directories(directory);
      replace_file(join(directory, "nodes.txt"), text);
    } catch (const Error& e) {
      if (!nodes_failure_said_) say("{}", e.message());  // an image whose home isn't writable still runs Ray
      nodes_failure_said_ = true;
    }
  }

  void start_job() {
    if (job_.empty()) return;
    say("Starting job: {}", job_);
    job_child_ = Child::spawn({.argv = {"/bin/sh", "-c", job_}});
    job_.clear();
  }

  void end_job() {
    say("Job ended: {}", describe(job_child_->wait()));
    job_child_.reset();
  }

  cluster::MemberRole role_;
  sigset_t signal_set_;
  Fd signals_;
  int ended_by_ = SIGTERM;
  std::vector<std::string> start_;
  std::string head_address_, own_address_, job_;
  std::vector<std::string> missing_;
  std::map<std::string, bool> waiting_said_;
  std::map<std::string, std::string> workers_;
  std::optional<Child> job_child_;
  bool announced_ = false, nodes_failure_said_ = false;
};

}  // namespace

int run_entry(int argc, char** argv) {
  try {
    std::string role = argc == 2 ? argv[1] : "";
    if (role != "head" && role != "worker") throw UsageError("run: say 'run head' or 'run worker'");
    return Entry(role == "head" ? cluster::MemberRole::head : cluster::MemberRole::worker).run();
  } catch (const std::exception& e) {
    fmt::print(stderr, "run: {}\n", e.what());
    return 1;
  }
}

}  // namespace rayctl::ray
