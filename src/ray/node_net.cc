#include "ray/node_net.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "net/address_plan.h"
#include "net/dns_process.h"
#include "net/firewall.h"
#include "ray/pods.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr auto resync_interval = std::chrono::seconds(30);
constexpr auto settle_time = std::chrono::milliseconds(100);  // one event seldom comes alone
constexpr auto names_deadline = std::chrono::seconds(10);

// What `node stop` needs in order to undo, when no supervisor runs any more.
std::string remembered_path(const std::string& run_dir) {
  return join(run_dir, "network.json");
}

void remember(const std::string& run_dir, const cluster::ClusterView& view, const cluster::Node& self) {
  nlohmann::json json = {{"pool", view.cluster.pool}, {"subnet", self.subnet}, {"underlay", self.underlay}};
  replace_file(remembered_path(run_dir), json.dump());
}

}  // namespace

net::NodeNetwork wanted_network(const cluster::ClusterView& view, const cluster::Node& self,
                                const std::vector<net::Attachment>& containers) {
  net::NodeNetwork wanted;
  wanted.overlay.pool = net::parse_subnet(view.cluster.pool);
  wanted.overlay.subnet = net::parse_subnet(self.subnet);
  wanted.overlay.underlay = net::parse_address(self.underlay);
  wanted.containers = containers;
  for (const auto& [id, node] : view.nodes) {
    if (id == self.id || node.underlay.empty()) continue;
    net::Peer peer{.name = node.name,
                   .subnet = net::parse_subnet(node.subnet),
                   .underlay = net::parse_address(node.underlay)};
    peer.mac = node.vtep_mac.empty() ? net::vtep_mac(peer.subnet) : net::parse_mac(node.vtep_mac);
    wanted.overlay.peers.push_back(peer);
  }
  return wanted;
}

net::DnsTable wanted_names(const cluster::ClusterView& view, const std::vector<net::Attachment>& containers,
                           uint64_t version) {
  net::DnsTable table;
  table.version = version;
  table.pools = {net::parse_subnet(view.cluster.pool)};
  table.absent = net::metadata_names();
  // Node names first: an address's reverse name is the first that it gets, and "head" is only an alias.
  std::vector<cluster::Name> all = cluster::names(view);
  std::stable_partition(all.begin(), all.end(), [](const cluster::Name& n) { return n.name != "head"; });
  for (const cluster::Name& name : all) net::add_name(table, name.name, net::parse_address(name.address));
  for (const net::Attachment& a : containers) table.containers.push_back({a.container, a.netns});
  return table;
}

struct NodeNet::State {
  State(asio::io_context& io, const Paths& paths, const std::string& binary)
      : run_dir(paths.run_dir),
        claim(net::claim_network_namespace()),
        reconciler(paths.run_dir),
        dns(paths.run_dir, binary),
        events(io, reconciler.event_fd()),
        timer(io) {}
  ~State() { events.release(); }  // the fd is the reconciler's

  void apply() {
    if (!self) return;
    net::Reconciled done = reconciler.reconcile(wanted_network(view, *self, containers));
    if (done.mtu != 0) mtu = done.mtu;
    for (const std::string& change : done.changes) debug("network: {}", change);
    if (done.problems != problems)
      for (const std::string& problem : done.problems) warn("network: {}", problem);
    problems = done.problems;
  }

  void serve_names() {
    if (!self) return;
    dns.write_table(wanted_names(view, containers, ++table_version));
    ensure_names(Level::debug);
  }

  void ensure_names(Level level) {
    std::string said = dns.ensure();
    if (said.empty()) return;
    log_line(level, "names: " + said);
    if (auto server = dns.status()) move_to_pods(run_dir, server->pid);
  }

  // Someone else's change is put right and told; a failure is told once and tried again at the next look.
  void repair(const char* why) {
    try {
      if (!self) return;
      net::Reconciled done = reconciler.reconcile(wanted_network(view, *self, containers));
      if (!done.changes.empty())
        warn("network: repaired {} ({}): {}", done.changes.size() == 1 ? "one thing" : "several things", why,
             fmt::format("{}", fmt::join(done.changes, ", ")));
      problems = done.problems;
      ensure_names(Level::info);
      last_failure.clear();
    } catch (const Error& e) {
      if (last_failure != e.message()) warn("network: {}", e.message());
      last_failure = e.message();
    }
  }

  void watch() {
    events.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& error) {
                        if (error) return;
                        if (reconciler.drain_events()) repair_soon();
                        watch();
                      });
  }

  void repair_soon() {
    if (std::exchange(repair_due, true)) return;
    timer.expires_after(settle_time);
    wait();
  }

  void wait() {
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error == asio::error::operation_aborted) return;
      repair(std::exchange(repair_due, false) ? "something changed it" : "at the regular look");
      if (repair_due) return;
      timer.expires_after(resync_interval);
      wait();
    });
  }

  std::string run_dir;
  Fd claim;  // one node a network namespace: two would undo each other's work
  net::NetworkReconciler reconciler;
  net::DnsProcess dns;
  asio::posix::stream_descriptor events;
  asio::steady_timer timer;
  cluster::ClusterView view;
  std::optional<cluster::Node> self;
  std::vector<net::Attachment> containers;
  std::vector<std::string> problems;
  std::string last_failure;
  uint32_t mtu = 1450;
  // From the clock, so that it grows over our own restarts: the name server tells which version it serves.
  uint64_t table_version = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                     std::chrono::system_clock::now().time_since_epoch())
                                                     .count());
  bool watching = false, repair_due = false;
};

NodeNet::NodeNet(asio::io_context& io, const Paths& paths, const std::string& binary)
    : state_(std::make_unique<State>(io, paths, binary)) {}
NodeNet::~NodeNet() = default;

void NodeNet::update(const cluster::ClusterView& view, const cluster::Node& self) {
  State& s = *state_;
  s.view = view;
  s.self = self;
  remember(s.run_dir, view, self);  // before anything is there to undo
  s.apply();
  s.serve_names();
  if (!std::exchange(s.watching, true)) {
    s.reconciler.drain_events();  // our own doing
    s.watch();
    s.timer.expires_after(resync_interval);
    s.wait();
  }
}

net::Attachment NodeNet::attach(const std::string& container_id, int64_t pid) {
  State& s = *state_;
  if (!s.self) throw Error("cannot attach a container: this node has no address yet");
  net::Netns netns = pid > 0
                         ? net::Netns::restore(s.run_dir, container_id, fmt::format("/proc/{}/ns/net", pid))
                         : net::Netns::create(s.run_dir, container_id);
  net::Attachment attachment =
      net::attachment(container_id, netns.path(), net::parse_subnet(s.self->subnet), 0, s.mtu);
  std::erase_if(s.containers, [&](const net::Attachment& a) { return a.container == container_id; });
  s.containers.push_back(attachment);
  s.apply();
  s.serve_names();
  s.dns.wait_serving(container_id, s.table_version, names_deadline);
  return attachment;
}

void NodeNet::detach(const std::string& container_id) {
  State& s = *state_;
  std::erase_if(s.containers, [&](const net::Attachment& a) { return a.container == container_id; });
  s.apply();
  s.serve_names();
  net::detach_container(container_id);
  net::Netns::remove(s.run_dir, container_id);
}

const std::vector<std::string>& NodeNet::problems() const {
  return state_->problems;
}

void remove_node_network(const Paths& paths) {
  net::DnsProcess(paths.run_dir, "").stop();
  std::string path = remembered_path(paths.run_dir);
  if (auto text = read_file_if_exists(path)) {
    Json json = Json::parse(*text, path);
    net::NodeNetwork wanted;
    wanted.overlay.pool = net::parse_subnet(json.at("pool").string());
    wanted.overlay.subnet = net::parse_subnet(json.at("subnet").string());
    wanted.overlay.underlay = net::parse_address(json.at("underlay").string());
    net::NetworkReconciler(paths.run_dir).remove(wanted);
    remove_tree(path);
  }
  std::string namespaces = join(paths.run_dir, "netns");
  if (!exists(namespaces)) return;
  for (const std::string& name : list_directory(namespaces)) net::Netns::remove(paths.run_dir, name);
}

}  // namespace rayctl::ray
