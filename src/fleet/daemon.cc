#include "fleet/daemon.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/context.h"
#include "cluster/control_local.h"
#include "cluster/control_requests.h"
#include "cluster/operator_client.h"
#include "fleet/home.h"

namespace rayctl::fleet {

namespace asio = boost::asio;

namespace {

constexpr auto housekeeping = std::chrono::seconds(1);

std::string socket_directory(const Paths& paths) {
  return join(paths.run_dir, "daemon");
}

// Lines of several clusters, each whole.
class Voice {
 public:
  void say(const std::string& name, const std::string& text, const std::string& fields) {
    std::string all = fields;
    if (!name.empty() && several_) all += (all.empty() ? "" : " ") + fmt::format("namespace={}", name);
    line(info_line(text, all));
  }
  // 2016 printed its tables whenever they changed.
  void show(const ClusterLook& look) {
    std::vector<MachineView> machines = look.machines;
    sort_machines(machines);
    std::string table, cluster = cluster_line(look);
    for (const MachineView& machine : machines)
      if (machine.stage != Stage::ending) table += "\n    " + machine_line(machine);
    std::lock_guard lock(mutex_);
    Said& said = said_[look.name];
    if (said.machines != table) {
      said.machines = table;
      print(info_line("db.Machine:" + table));
    }
    if (said.cluster != cluster && !look.acl.empty()) {
      said.cluster = cluster;
      print(info_line("db.Cluster:\n    " + cluster));
    }
    if (said.error != look.error && !look.error.empty())
      print(info_line("Cannot go on.", fmt::format("namespace={} error={}", look.name, look.error)));
    said.error = look.error;
    if (said.progress != look.progress && look.progress == Progress::healthy)
      print(info_line("All machines are healthy.", fmt::format("namespace={}", look.name)));
    said.progress = look.progress;
  }
  void line(const std::string& text) {
    std::lock_guard lock(mutex_);
    print(text);
  }
  void forget(const std::string& name) {
    std::lock_guard lock(mutex_);
    said_.erase(name);
  }
  std::atomic<bool> several_{false};

 private:
  static void print(const std::string& text) { write_fd(1, text + "\n", "stdout"); }
  struct Said {
    std::string machines, cluster, error;
    Progress progress = Progress::starting;
  };
  std::mutex mutex_;
  std::map<std::string, Said> said_;
};

class Daemon {
 public:
  explicit Daemon(const Paths& paths) : timer_(io_), signals_(io_, SIGINT, SIGTERM) {
    register_requests();
    server_.emplace(io_, socket_directory(paths), requests_);
  }

  int run() {
    voice_.say("", "Started.", fmt::format("pid={}", getpid()));
    tick();
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (!error) io_.stop();
    });
    io_.run();
    server_.reset();
    voice_.say("", "Stopping; machines go on.", "");
    keepers_.clear();
    return 0;
  }

 private:
  void register_requests() {
    requests_.on("ping", cluster::Access::operate,
                 [](const cluster::Request&, const cluster::ChannelPtr& channel) {
                   channel->respond({{"pid", getpid()}});
                 });
    requests_.on("order", cluster::Access::admin,
                 [this](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                   uint64_t number =
                       take(request.body.at("namespace").string(), request.body.at("file").string());
                   channel->respond({{"order", number}});
                 });
  }

  // The order is in a file of the one who asks, who is this user: deployments are larger than requests.
  uint64_t take(const std::string& name, const std::string& directory) {
    Home home = home_of(name);
    std::optional<Order> order = read_order({directory});
    if (!order) throw Error("cannot take the order for '{}': '{}' has none", name, directory);
    auto found = keepers_.find(name);
    Keeper& keeper =
        found != keepers_.end() ? *found->second : keep(name, Ownership::take(home, name, "daemon"));
    return keeper.order(std::move(*order));
  }

  // Unless another process works on it.
  void open(const std::string& name) {
    if (keepers_.count(name)) return;
    if (auto own = Ownership::try_take(home_of(name), "daemon")) keep(name, std::move(*own));
  }

  Keeper& keep(const std::string& name, Ownership own) {
    KeeperEvents events;
    events.say = [this, name](const std::string& text, const std::string& fields) {
      voice_.say(name, text, fields);
    };
    events.changed = [this](const ClusterLook& look) { voice_.show(look); };
    auto keeper = std::make_unique<Keeper>(home_of(name), name, std::move(own), std::move(events));
    keeper->start();
    voice_.several_ = keepers_.size() >= 1;
    return *keepers_.emplace(name, std::move(keeper)).first->second;
  }

  // Clusters that `up` works on are taken over once it is done; those that are gone are let go.
  void tick() {
    for (auto it = keepers_.begin(); it != keepers_.end();) {
      if (it->second->ended()) {
        voice_.say(it->first, "Nothing is left of the cluster.", "");
        voice_.forget(it->first);
        it = keepers_.erase(it);
      } else {
        ++it;
      }
    }
    try {
      for (const std::string& name : known_clusters())
        if (keepers_.count(name) == 0 && read_order(home_of(name))) open(name);
    } catch (const Error& e) {
      if (last_trouble_ != e.message()) warn("{}", e.message());
      last_trouble_ = e.message();
    }
    timer_.expires_after(housekeeping);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) tick();
    });
  }

  asio::io_context io_{1};
  asio::steady_timer timer_;
  asio::signal_set signals_;
  cluster::RequestTable requests_;
  std::optional<cluster::LocalServer> server_;
  Voice voice_;
  std::map<std::string, std::unique_ptr<Keeper>> keepers_;
  std::string last_trouble_;
};

}  // namespace

int run_daemon(const Paths& paths) {
  if (daemon_runs(paths))
    throw Error("cannot start: a daemon of yours runs already (its socket: {})", socket_directory(paths));
  return Daemon(paths).run();
}

bool daemon_runs(const Paths& paths) {
  std::string directory = socket_directory(paths);
  if (!exists(cluster::control_socket_path(directory))) return false;
  try {
    cluster::OperatorClient::local(directory).request("ping", nlohmann::json::object(),
                                                      std::chrono::seconds(5));
    return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    debug("no daemon: {}", e.message());
    return false;
  }
}

uint64_t send_order(const Paths& paths, const std::string& name, const Order& order) {
  TempDir directory;
  write_order({directory.path()}, order);
  return cluster::OperatorClient::local(socket_directory(paths))
      .request("order", {{"namespace", name}, {"file", directory.path()}}, std::chrono::seconds(60))
      .at("order")
      .size();
}

}  // namespace rayctl::fleet
