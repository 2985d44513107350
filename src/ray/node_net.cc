#include "ray/node_net.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cluster/cluster_state.h"
#include "net/address_plan.h"
#include "net/checksums.h"
#include "net/dns_process.h"
#include "net/path_mtu.h"
#include "ray/pods.h"
#include "wg/tunnel_process.h"

namespace rayctl::ray {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

using namespace std::chrono_literals;
constexpr auto resync_interval = 30s;
constexpr auto settle_time = 100ms;  // one event seldom comes alone
constexpr auto probe_pause = 10s;    // the regular looks come less often
constexpr size_t probed_at_once = 32;
constexpr auto retry_interval = 1s;  // after a failure
constexpr auto stop_interval = 1s;   // between looks whether our processes were stopped
constexpr auto names_deadline = 10s;
constexpr auto tunnel_deadline = 5s;
constexpr int rest = 4;  // a look that took long is followed by a rest of so many times its duration

// What `node stop` needs in order to undo, when no supervisor runs any more.
std::string remembered_path(const std::string& run_dir) {
  return join(run_dir, "network.json");
}

void remember(const std::string& run_dir, const net::NodeNetwork& wanted) {
  nlohmann::json json = {{"pool", net::to_string(wanted.overlay.pool)},
                         {"subnet", net::to_string(wanted.overlay.subnet)},
                         {"underlay", net::to_string(wanted.overlay.underlay)},
                         {"port", wanted.overlay.port}};
  std::string text = json.dump();
  if (read_file_if_exists(remembered_path(run_dir)) != text) replace_file(remembered_path(run_dir), text);
}

// From the clock, so that it grows over our own restarts: the processes tell which version they use.
uint64_t first_version() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

// Tells that a process died that the node can't do without, and keeps it going while it lives.
class DeathWatch {
 public:
  DeathWatch(asio::io_context& io, std::string_view noun, std::function<void()> died)
      : descriptor_(io), noun_(noun), died_(std::move(died)) {}

  // The process behind `fd` from now on; the same one again is no news.
  void follow(Fd fd) {
    if (!fd || descriptor_.is_open()) return;
    descriptor_.assign(fd.release());
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                             if (error) return;
                             descriptor_.close();
                             died_();
                           });
  }
  void look() {
    if (descriptor_.is_open() && stopped_.look(descriptor_.native_handle()))
      warn("network: the {} was stopped by somebody: it is told to go on", noun_);
  }

 private:
  asio::posix::stream_descriptor descriptor_;
  std::string_view noun_;
  StopWatch stopped_;
  std::function<void()> died_;
};

struct NodeNet::State {
  State(asio::io_context& io, Jobs& pool, const Paths& paths, const std::string& binary, std::string overlay,
        NodeNetEvents told)
      : run_dir(paths.run_dir),
        jobs(pool),
        own_overlay(std::move(overlay)),
        tell(std::move(told)),
        claim(net::claim_network_namespace()),
        keys(cluster::cluster_directory(paths)),
        reconciler(paths.run_dir,
                   [this](const std::string& link, uint32_t link_mtu, const net::WireguardDevice& device) {
                     return run_tunnel(link, link_mtu, device);
                   }),
        dns(paths.run_dir, binary),
        tunnel(paths.run_dir, binary),
        events(io, reconciler.event_fd()),
        timer(io),
        stop_timer(io),
        dns_death(io, "name server", [this] { look_in(0ms, Why::event); }),
        tunnel_death(io, "tunnel", [this] { look_in(0ms, Why::event); }) {}
  ~State() { events.release(); }  // the fd is the reconciler's

  // --- the one look: observe, compare, change; for what is new as for what others broke ---
  enum class Why { wanted, event, regular };

  void look(Why why) {
    auto begin = Clock::now();
    std::vector<std::string> told;
    net::NodeNetwork wanted = wanted_network(view, *self, own(), containers, &told);
    paths.apply(wanted.overlay.peers);
    wanted.overlay.compute_checksums = checksums.compute();
    // One that an earlier mode of this node left would hold the port, and make its link again and again.
    if (!std::exchange(other_mode_ended, true) && *mode != net::OverlayMode::userspace) tunnel.stop();
    remember(run_dir, wanted);  // before anything is there to undo
    net::Reconciled done = reconciler.reconcile(wanted);
    mtu = done.mtu;
    std::vector<std::string> changes = std::move(done.changes);
    write_names();
    if (std::string said = dns.ensure(); !said.empty()) {
      changes.push_back(said);
      if (auto server = dns.status()) move_to_pods(run_dir, server->pid);
    }
    dns_death.follow(dns.watch());
    tunnel_death.follow(tunnel.watch());
    report(why, changes);
    told.insert(told.end(), done.problems.begin(), done.problems.end());
    if (std::string problem = checksums.problem(); !problem.empty()) told.push_back(problem);
    for (const std::string& problem : told)
      if (std::find(problems.begin(), problems.end(), problem) == problems.end())
        warn("network: {}", problem);
    problems = std::move(told);
    if (!last_failure.empty()) info("network: all is well again");
    last_failure.clear();
    last_duration = Clock::now() - begin;
    probe_paths(wanted.overlay);
  }

  struct Ways {
    std::vector<std::optional<uint32_t>> sizes;
    std::vector<net::Checksums> checksums;  // VXLAN's
    bool leaves_checksums = true;
  };

  // Whether packets arrive in full size and whole, of a few peers at a time: a sleeping tunnel is woken by
  // it.
  void probe_paths(const net::Overlay& overlay) {
    auto now = Clock::now();
    if (overlay.mode == net::OverlayMode::host || overlay.peers.empty() || probing || now < next_probe)
      return;
    probing = true;
    next_probe = now + probe_pause;
    auto asked = std::make_shared<std::vector<net::Peer>>(paths.next(overlay.peers, probed_at_once));
    bool vxlan = overlay.mode == net::OverlayMode::vxlan;
    jobs.run<Ways>(
        [asked, vxlan, size = mtu, link = net::overlay_link_name(overlay)] {
          Ways ways{net::find_path_mtus(*asked, size), {}};
          if (!vxlan) return ways;
          ways.leaves_checksums = net::leaves_checksums(link);
          ways.checksums = net::test_checksums(*asked);
          return ways;
        },
        [this, asked, size = mtu, alive = std::weak_ptr<bool>(alive)](std::optional<Ways> found,
                                                                      const std::string& error) {
          if (alive.expired()) return;
          probing = false;
          if (!found) return warn("network: looking how packets arrive: {}", error);
          std::vector<std::string> lines = paths.take(*asked, found->sizes, size);
          for (const std::string& line : lines) warn("network: {}", line);
          std::string before = checksums.problem();
          checksums.take(*asked, found->checksums, found->leaves_checksums);
          bool news = checksums.problem() != before;
          if (news) next_probe = {};  // whether it is well now
          if (news || !lines.empty()) look_in(0ms, Why::wanted);
        });
  }

  void report(Why why, const std::vector<std::string>& changes) {
    if (why == Why::wanted || changes.empty()) {
      for (const std::string& change : changes) debug("network: {}", change);
      return;
    }
    constexpr size_t shown = 5;
    std::vector<std::string> first(changes.begin(),
                                   changes.begin() + static_cast<long>(std::min(shown, changes.size())));
    warn("network: repaired {} ({}): {}{}", changes.size() == 1 ? "one thing" : "several things",
         why == Why::event ? "something changed it" : "at the regular look", fmt::join(first, ", "),
         changes.size() > shown ? fmt::format(" and {} more", changes.size() - shown) : "");
  }

  // A failure is told once and tried again soon; the address may have changed, and then everyone must know.
  bool try_look(Why why) {
    try {
      look(why);
      return true;
    } catch (const Error& e) {
      if (last_failure != e.message()) warn("network: {}", e.message());
      last_failure = e.message();
      problems = {e.message()};
    }
    return false;
  }

  OwnNetwork own() {
    if (!mode) mode = net::choose_mode(view.cluster.overlay, own_overlay, net::kernel_parts());
    if (net::encrypts(*mode) && !self->public_key.empty() &&
        keys.use(net::parse_wireguard_key(self->public_key)))
      info("network: this node's new key is in use");
    return {*mode, keys.current()};
  }

  // An address that went away is replaced by the one that the route towards the head begins at now; only what
  // differs from what the cluster knows is told.
  void check_facts() {
    if (!tell.on_facts || !self) return;
    std::string underlay, key;
    bool moved = !net::has_address(net::parse_address(self->underlay));
    if (moved)
      for (const auto& [id, node] : view.nodes) {
        if (id == self->id || node.underlay.empty()) continue;
        if (self->role != cluster::MemberRole::head && node.role != cluster::MemberRole::head) continue;
        try {
          underlay = net::to_string(net::underlay_towards(net::parse_address(node.underlay)).address);
        } catch (const Error&) {  // no way there now: nothing to tell
        }
        break;
      }
    if (underlay == self->underlay) underlay.clear();
    if (net::to_text(keys.announced()) != self->public_key) key = net::to_text(keys.announced());
    if (underlay.empty() && key.empty()) return told_facts = {}, void();
    if (told_facts != std::pair(underlay, key)) tell.on_facts(underlay, key);
    told_facts = {underlay, key};
  }

  void write_names() {
    net::DnsTable table = wanted_names(view, containers, table_version);
    if (written_names && *written_names == table) return;
    table.version = ++table_version;
    dns.write_table(table);
    written_names = std::move(table);
  }

  // The machine's own namespace gets a path, as the name server outlives us.
  net::Attachment attach_shared(const std::string& container_id) {
    net::Attachment attachment{
        .container = container_id,
        .netns = net::Netns::restore(run_dir, shared_namespace, "/proc/self/ns/net").path(),
        .address = net::parse_address(self->underlay),
        .mtu = mtu};
    std::erase_if(containers, [&](const net::Attachment& a) { return a.container == container_id; });
    containers.push_back(attachment);
    look(Why::wanted);
    dns.wait_serving(shared_namespace, table_version, names_deadline);
    return attachment;
  }

  std::vector<std::string> run_tunnel(const std::string& link, uint32_t link_mtu,
                                      const net::WireguardDevice& device) {
    std::vector<std::string> changes;
    wg::TunnelTable table = wanted_tunnel(view, link, link_mtu, device, tunnel_version);
    if (!written_tunnel || !(*written_tunnel == table)) {
      table.version = ++tunnel_version;
      tunnel.write_table(table);
      if (written_tunnel) changes.push_back("give the tunnel another table");
      written_tunnel = std::move(table);
    }
    if (std::string said = tunnel.ensure(); !said.empty()) {
      changes.push_back(said);
      if (auto process = tunnel.status()) move_to_pods(run_dir, process->pid);
    }
    tunnel.wait_table(tunnel_version, tunnel_deadline);
    return changes;
  }

  // --- when to look ---
  void watch() {
    events.async_wait(asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& error) {
                        if (error) return;
                        if (reconciler.drain_events()) look_in(settle_time, Why::event);
                        watch();
                      });
  }

  // The kernel tells nobody but its parent that a process was stopped.
  void watch_stops() {
    stop_timer.expires_after(stop_interval);
    stop_timer.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      dns_death.look();
      tunnel_death.look();
      watch_stops();
    });
  }

  // The earlier of what is due and this.
  void look_in(Clock::duration delay, Why why) {
    delay = std::max<Clock::duration>(delay, last_duration * rest);
    auto when = Clock::now() + delay;
    // What is wanted anew makes changes that nobody else made: they aren't repairs.
    if (due == Why::regular || why == Why::wanted) due = why;
    if (timer.expiry() <= when && waiting) return;
    timer.expires_at(when);
    wait();
  }

  void wait() {
    waiting = true;
    timer.async_wait([this](const boost::system::error_code& error) {
      if (error == asio::error::operation_aborted) return;
      waiting = false;
      bool well = try_look(std::exchange(due, Why::regular));
      check_facts();
      if (!waiting)
        look_in(well ? Clock::duration(resync_interval) : Clock::duration(retry_interval), Why::regular);
    });
  }

  std::string run_dir;
  Jobs& jobs;
  std::string own_overlay;
  NodeNetEvents tell;
  Fd claim;  // one node a network namespace: two would undo each other's work
  net::KeyStore keys;
  net::NetworkReconciler reconciler;
  net::DnsProcess dns;
  wg::TunnelProcess tunnel;
  asio::posix::stream_descriptor events;
  asio::steady_timer timer, stop_timer;
  DeathWatch dns_death, tunnel_death;
  Why due = Why::regular;
  bool waiting = false, looked = false, other_mode_ended = false;
  Clock::duration last_duration{};
  cluster::ClusterView view;
  std::optional<cluster::Node> self;
  std::optional<net::OverlayMode> mode;
  std::vector<net::Attachment> containers;
  std::vector<std::string> problems;
  std::string last_failure;
  std::pair<std::string, std::string>
      told_facts;  // address and key; the control stream sends them until they arrive
  uint32_t mtu = 1450;
  net::PathMtus paths;
  net::ChecksumFinding checksums;
  bool probing = false;
  Clock::time_point next_probe = {};
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  uint64_t table_version = first_version(), tunnel_version = first_version();
  std::optional<net::DnsTable> written_names;
  std::optional<wg::TunnelTable> written_tunnel;
};

std::string own_encryption(const std::string& own, const std::string& cluster) {
  for (const std::string& said : {own, cluster})
    if (said == "wireguard" || said == "userspace") return said;
  net::KernelParts kernel = net::kernel_parts();
  return kernel.wireguard ? "wireguard" : kernel.tun ? "userspace" : "";
}

NodeNet::NodeNet(asio::io_context& io, Jobs& jobs, const Paths& paths, const std::string& binary,
                 const std::string& overlay, NodeNetEvents events)
    : state_(std::make_unique<State>(io, jobs, paths, binary, overlay, std::move(events))) {}
NodeNet::~NodeNet() = default;

void NodeNet::update(const cluster::ClusterView& view, const cluster::Node& self) {
  State& s = *state_;
  s.view = view;
  s.self = self;
  if (s.looked) return s.look_in(20ms, State::Why::wanted);
  s.look(State::Why::wanted);
  s.looked = true;
  s.reconciler.drain_events();  // our own doing
  s.watch();
  s.watch_stops();
  s.check_facts();
  s.look_in(resync_interval, State::Why::regular);
}

net::Attachment NodeNet::attach(const std::string& container_id, int64_t pid, uint32_t slot) {
  State& s = *state_;
  if (!s.self) throw Error("cannot attach a container: this node has no address yet");
  if (s.own().mode == net::OverlayMode::host) return s.attach_shared(container_id);
  net::Netns netns = pid > 0
                         ? net::Netns::restore(s.run_dir, container_id, fmt::format("/proc/{}/ns/net", pid))
                         : net::Netns::create(s.run_dir, container_id);
  net::Attachment attachment =
      net::attachment(container_id, netns.path(), net::parse_subnet(s.self->subnet), slot, s.mtu);
  std::erase_if(s.containers, [&](const net::Attachment& a) { return a.container == container_id; });
  s.containers.push_back(attachment);
  s.written_names.reset();  // another namespace may be under the path: the name server looks again
  s.look(State::Why::wanted);
  s.dns.wait_serving(container_id, s.table_version, names_deadline);
  return attachment;
}

void NodeNet::detach(const std::string& container_id) {
  State& s = *state_;
  if (std::erase_if(s.containers, [&](const net::Attachment& a) { return a.container == container_id; }) == 0)
    return;
  if (s.own().mode != net::OverlayMode::host) net::detach_container(container_id);
  s.try_look(State::Why::wanted);  // the name server lets go of the namespace
  net::Netns::remove(s.run_dir, container_id);
}

const std::vector<std::string>& NodeNet::problems() const {
  return state_->problems;
}

net::OverlayMode NodeNet::mode() const {
  return state_->mode.value_or(net::OverlayMode::none);
}

std::string NodeNet::public_key() const {
  return net::to_text(state_->keys.announced());
}

CheckInput NodeNet::check_input(const std::string& peer) const {
  State& s = *state_;
  if (!s.self) throw Error("cannot check the network: this node has no address yet");
  CheckInput input{.wanted = wanted_network(s.view, *s.self, s.own(), s.containers),
                   .problems = s.problems,
                   .failure = s.last_failure,
                   .mtu = s.mtu,
                   .dns = s.dns.status()};
  if (input.wanted.overlay.mode == net::OverlayMode::userspace) input.tunnel = s.tunnel.status();
  s.paths.apply(input.wanted.overlay.peers);
  input.wanted.overlay.compute_checksums = s.checksums.compute();
  input.wanted.overlay.private_key = {};  // nobody who looks needs it
  if (peer.empty()) return input;
  const cluster::Node* other = cluster::find_node(s.view, peer);
  if (!other) throw Error("cannot find node '{}': 'rayctl status' lists those that there are", peer);
  std::erase_if(input.wanted.overlay.peers, [&](const net::Peer& p) { return p.name != other->name; });
  return input;
}

void NodeNet::rotate_key() {
  state_->keys.rotate();
  state_->check_facts();
}

void remove_node_network(const Paths& paths) {
  net::DnsProcess(paths.run_dir, "").stop();
  wg::TunnelProcess(paths.run_dir, "").stop();
  std::string path = remembered_path(paths.run_dir);
  if (auto text = read_file_if_exists(path)) {
    Json json = Json::parse(*text, path);
    net::NodeNetwork wanted;
    wanted.overlay.pool = net::parse_subnet(json.at("pool").string());
    wanted.overlay.subnet = net::parse_subnet(json.at("subnet").string());
    wanted.overlay.underlay = net::parse_address(json.at("underlay").string());
    wanted.overlay.port = static_cast<uint16_t>(json.size_or("port", wanted.overlay.port));
    net::NetworkReconciler(paths.run_dir).remove(wanted);
    remove_tree(path);
  }
  std::string namespaces = join(paths.run_dir, "netns");
  if (!exists(namespaces)) return;
  for (const std::string& name : list_directory(namespaces)) net::Netns::remove(paths.run_dir, name);
}

}  // namespace rayctl::ray
