// tunnel_main() of tunnel_process.h: the process that carries the packets.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/version.h"
#include "net/poller.h"
#include "wg/data_path.h"
#include "wg/handover.h"
#include "wg/tunnel_process.h"

namespace rayctl::wg {

namespace {

using net::Poller;
using namespace std::chrono_literals;

constexpr auto lock_pause = 20ms;
constexpr int lock_tries = 10, lock_tries_after_predecessor = 150;
constexpr auto look_pause = 1000ms;  // at the link, and for the status
constexpr size_t many_peers = 500;
constexpr int looks_with_many_peers = 5;
constexpr int batches_at_once = 16;
constexpr uint64_t recall_limit = std::chrono::milliseconds(reject_after_time).count();
constexpr int before_others = -10;  // as nice(1) counts

// Keys never reach a core file or a debugger that isn't root's.
void guard_secrets() {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
}

// A node whose cores are all busy still has to talk to the others: heartbeats come this way too.
void go_first() {
  setpriority(PRIO_PROCESS, 0, before_others);
}

nlohmann::json count_json(const DropCounters& drops) {
  nlohmann::json counts = nlohmann::json::object();
  for (size_t i = 0; i < drop_reasons; ++i) {
    Drop reason = static_cast<Drop>(i);
    if (drops.of(reason) > 0) counts[std::string(to_string(reason))] = drops.of(reason);
  }
  return counts;
}

class Tunnel {
 public:
  explicit Tunnel(const DaemonStart& start)
      : files_(daemon_files(start.directory)), directory_(start.directory), data_path_(device_) {
    watch_signals();
    TunnelTable table = read_table();
    bool inherited = start.predecessor != 0 && inherit(table);
    if (start.predecessor != 0 && !inherited) kill(start.predecessor, SIGUSR2);
    take_lock(start.predecessor);
    if (!inherited) {
      open_sockets(table);
      open_link(table);
      device_.set_table(table, moment());
      recall();
    }
    data_path_.use(&tun_, v4(), v6());
    watch_traffic();
    door_.emplace(directory_);
    poller_.watch(door_->fd(), EPOLLIN, [this](uint32_t) { hand_over(); });
    watch_.add(directory_);
    // Our open log pins a removed directory, which then never says that it is gone; its parent does.
    watch_.add(directory_of(directory_));
    poller_.watch(watch_.fd(), EPOLLIN, [this](uint32_t) {
      watch_.drain();
      reload();
    });
    look();
  }

  void run() {
    say_features();
    while (!poller_.stopped()) {
      arm();
      poller_.run_once();
    }
    if (leave_link_) return;
    tun_.remove();
  }

 private:
  UdpSocket* v4() { return v4_ ? &*v4_ : nullptr; }
  UdpSocket* v6() { return v6_ ? &*v6_ : nullptr; }

  void watch_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (int signal : {SIGTERM, SIGINT, SIGUSR2}) sigaddset(&signals, signal);
    check(sigprocmask(SIG_BLOCK, &signals, nullptr), "cannot block signals");
    signals_ = Fd{check(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), "cannot wait for signals")};
    poller_.watch(signals_.get(), EPOLLIN, [this](uint32_t) {
      signalfd_siginfo info;
      if (read(signals_.get(), &info, sizeof info) == sizeof info) leave_link_ = info.ssi_signo == SIGUSR2;
      poller_.stop();
    });
  }

  void take_lock(pid_t predecessor) {
    int tries = predecessor != 0 ? lock_tries_after_predecessor : lock_tries;
    for (int i = 0; i < tries && !lock_; ++i) {  // someone may just be looking whether it is held
      if (i > 0) std::this_thread::sleep_for(lock_pause);
      if (predecessor != 0 && i == tries / 2) kill(predecessor, SIGKILL);  // it hangs
      lock_ = FileLock::try_lock(files_.lock, LockKind::exclusive);
    }
    if (!lock_) throw Error("cannot carry packets: another process holds '{}'", files_.lock);
  }

  TunnelTable read_table() {
    std::string text = read_file(files_.table);
    TunnelTable table = parse_tunnel_table(text, files_.table);
    wipe(text.data(), text.size());
    return table;
  }

  // From the status of the one before: timestamps go on, even if the clock was set back meanwhile; and peers
  // that have a session with it learn that it is lost.
  void recall() {
    try {
      auto text = read_file_if_exists(files_.status);
      if (!text) return;
      Json document = Json::parse(*text, files_.status);
      device_.raise_timestamp(document.size_or("timestamp", 0));
      uint64_t now = moment().unix_ns / 1000000;
      std::map<PublicKey, Endpoint> peers;
      for (const auto& [key, peer] : parse_tunnel_status(document).peers)
        if (!peer.endpoint.empty() && now < peer.last_handshake + recall_limit)
          peers[parse_public_key(key, "peer")] = parse_endpoint(peer.endpoint);
      device_.recall(peers, moment());
    } catch (const Error& error) {
      warn("{}", error.message());
    }
  }

  // --- link and sockets ---

  void open_sockets(const TunnelTable& table) {
    v4_.reset();
    v6_.reset();
    v4_ = UdpSocket::open(AF_INET, table.listen_port, table.mark);
    v6_ = UdpSocket::open(AF_INET6, table.listen_port, table.mark);
    if (!v4_ && !v6_) throw Error("cannot open a UDP socket: the machine has neither IPv4 nor IPv6");
  }

  void open_link(const TunnelTable& table) {
    tun_ = Tun::open(table.interface, table.netns, table.mtu);
    ++links_made_;
  }

  void watch_traffic() {
    for (UdpSocket* socket : {v4(), v6()})
      if (socket)
        poller_.watch(socket->fd(), EPOLLIN, [this, socket](uint32_t) {
          for (int i = 0; i < batches_at_once && data_path_.from_socket(*socket); ++i) {
          }
        });
    watch_link();
  }

  void watch_link() {
    if (tun_.fd() < 0) return;  // look() tries again
    poller_.watch(tun_.fd(), EPOLLIN, [this](uint32_t events) {
      if (events & (EPOLLERR | EPOLLHUP)) {
        repair_link();
        return;
      }
      for (int i = 0; i < batches_at_once && data_path_.from_link(); ++i) {
      }
    });
  }

  void forget_sockets() {
    for (UdpSocket* socket : {v4(), v6()})
      if (socket) poller_.forget(socket->fd());
  }

  // Makes the link again when somebody deleted it; puts MTU and "up" right.
  void repair_link() {
    const TunnelTable& table = device_.table();
    try {
      if (tun_.fd() >= 0 && tun_.repair(table.mtu)) {
        errors_.erase("link");
        return;
      }
      if (tun_.fd() >= 0) poller_.forget(tun_.fd());
      tun_ = Tun();
      open_link(table);
      warn("the link '{}' was gone: made it again", table.interface);
      errors_.erase("link");
      data_path_.use(&tun_, v4(), v6());
      watch_link();
      publish();
    } catch (const Error& error) {
      if (errors_["link"] != error.message()) warn("{}", error.message());
      errors_["link"] = error.message();
      if (tun_.fd() < 0) data_path_.use(nullptr, v4(), v6());
    }
  }

  // --- table ---

  void reload() {
    if (!exists(directory_)) {  // `node reset`
      poller_.stop();
      return;
    }
    if (!exists(files_.table)) return;  // being removed: go on with what there is
    try {
      TunnelTable table = read_table();
      if (table == device_.table()) return;
      apply(table);
      errors_.erase("table");
    } catch (const Error& error) {
      if (errors_["table"] != error.message()) warn("{}", error.message());
      errors_["table"] = error.message();
    }
    publish();
  }

  void apply(const TunnelTable& table) {
    TunnelTable before = device_.table();
    if (table.listen_port != before.listen_port || table.mark != before.mark) {
      forget_sockets();
      poller_.forget(tun_.fd());
      try {
        open_sockets(table);
      } catch (...) {
        open_sockets(before);
        data_path_.use(&tun_, v4(), v6());
        watch_traffic();
        throw;
      }
      data_path_.use(&tun_, v4(), v6());
      watch_traffic();
    }
    if (table.interface != before.interface || table.netns != before.netns) {
      Tun fresh = Tun::open(table.interface, table.netns, table.mtu);
      if (tun_.fd() >= 0) poller_.forget(tun_.fd());
      tun_.remove();
      tun_ = std::move(fresh);
      ++links_made_;
      data_path_.use(&tun_, v4(), v6());
      watch_link();
    }
    device_.set_table(table, moment());
    repair_link();
  }

  // --- handover ---

  bool inherit(const TunnelTable& table) {
    try {
      auto inheritance = Inheritance::ask(directory_);
      if (!inheritance) return false;
      Belongings& b = inheritance->belongings;
      if (b.interface != table.interface || b.netns != table.netns || b.listen_port != table.listen_port ||
          b.mark != table.mark)
        return false;
      device_.set_table(table, moment());
      DeviceState::load(device_, b.state, moment());
      wipe(b.state.data(), b.state.size());
      tun_ = Tun::adopt(std::move(b.tun), b.interface, b.netns);
      ++links_made_;
      v4_ = UdpSocket::adopt(std::move(b.v4), AF_INET);
      if (b.v6) v6_ = UdpSocket::adopt(std::move(b.v6), AF_INET6);
      inheritance->confirm();
      return true;
    } catch (const Error& error) {
      warn("{}", error.message());
      device_ = Device();  // nothing of what may be the predecessor's still is ours
      return false;
    }
  }

  void hand_over() {
    try {
      HandoverDoor::Outcome outcome = door_->answer([this] {
        const TunnelTable& table = device_.table();
        Belongings b;
        b.tun = Fd{dup_cloexec(tun_.fd())};
        b.v4 = Fd{dup_cloexec(v4_ ? v4_->fd() : -1)};
        b.v6 = Fd{dup_cloexec(v6_ ? v6_->fd() : -1)};
        if (!b.tun || !b.v4) throw Error("cannot hand over: there is no link or no IPv4 socket");
        b.interface = table.interface;
        b.netns = table.netns;
        b.listen_port = table.listen_port;
        b.mark = table.mark;
        b.state = DeviceState::save(device_);
        return b;
      });
      if (outcome == HandoverDoor::Outcome::unknown) device_.forget_sessions();
      if (outcome != HandoverDoor::Outcome::taken) return;
      leave_link_ = true;
      // The sessions are another's now: a packet more would use a nonce that the successor uses, too.
      poller_.stop();
    } catch (const Error& error) {
      warn("{}", error.message());
    }
  }

  static int dup_cloexec(int fd) { return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3); }

  // --- time ---

  void arm() {
    if (device_.handshakes_waiting()) {
      schedule(Poller::Clock::now());
    } else if (auto next = device_.next_timer()) {
      if (next == armed_for_) return;
      armed_for_ = next;
      schedule(Poller::Clock::now() + std::max(Time::zero(), *next - moment().boot));
    }
  }

  void schedule(Poller::Clock::time_point when) {
    poller_.cancel(timer_);
    timer_ = poller_.at(when, [this] {
      armed_for_.reset();
      data_path_.work();
    });
  }

  void look() {
    if (looks_ > 0) repair_link();
    if (device_.peers().size() < many_peers || looks_ % looks_with_many_peers == 0) publish();
    ++looks_;
    poller_.at(Poller::Clock::now() + look_pause, [this] { look(); });
  }

  // --- status ---

  void publish() {
    nlohmann::json peers = nlohmann::json::object();
    for (const auto& peer : device_.peers())
      peers[key_text(peer->config.public_key)] = {
          {"endpoint", peer->endpoint ? to_string(*peer->endpoint) : ""},
          {"last_handshake", peer->last_handshake / 1000000},
          {"handshakes", peer->handshakes},
          {"received", peer->received_bytes},
          {"sent", peer->sent_bytes},
          {"drops", count_json(peer->drops)}};
    const TunnelTable& table = device_.table();
    nlohmann::json document = {{"pid", getpid()},
                               {"version", version()},
                               {"mounts", mount_namespace()},
                               {"table", table.version},
                               {"interface", table.interface},
                               {"public_key", key_text(device_.public_key())},
                               {"listen_port", table.listen_port},
                               {"features", features()},
                               {"links_made", links_made_},
                               {"errors", errors_},
                               {"drops", count_json(device_.drops)},
                               {"timestamp", device_.newest_timestamp()},
                               {"peers", std::move(peers)}};
    std::string text = document.dump() + "\n";
    if (text == published_) return;
    replace_volatile(files_.status, text);
    published_ = std::move(text);
  }

  nlohmann::json features() {
    bool gso = (!v4_ || v4_->segments()) && (!v6_ || v6_->segments());
    bool gro = (!v4_ || v4_->aggregates()) && (!v6_ || v6_->aggregates());
    return {{"tun_tso", tun_.offloads()},
            {"tun_uso", tun_.splits_udp()},
            {"udp_gso", gso},
            {"udp_gro", gro},
            {"ipv6", v6_.has_value()}};
  }

  void say_features() {
    std::string text;
    nlohmann::json all = features();
    for (const auto& [name, there] : all.items())
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, there.get<bool>() ? "yes" : "no");
    info("the tunnel '{}' runs: {}", device_.table().interface, text);
  }

  DaemonFiles files_;
  std::string directory_;
  Poller poller_;
  Device device_;
  DataPath data_path_;
  std::optional<FileLock> lock_;
  Tun tun_;
  std::optional<UdpSocket> v4_, v6_;
  std::optional<HandoverDoor> door_;
  DirectoryWatch watch_;
  Fd signals_;
  std::map<std::string, std::string> errors_;
  uint64_t links_made_ = 0;
  uint64_t timer_ = 0;
  std::optional<Time> armed_for_;
  int looks_ = 0;
  std::string published_;
  bool leave_link_ = false;
};

}  // namespace

int tunnel_main(int argc, char** argv) {
  guard_secrets();
  return daemon_main(argc, argv, "tunnel", [](const DaemonStart& start, const std::function<void()>& ready) {
    go_first();
    Tunnel tunnel(start);
    ready();
    tunnel.run();
  });
}

}  // namespace rayctl::wg
