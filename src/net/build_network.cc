#include "net/build_network.h"

#include <linux/rtnetlink.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "net/address_plan.h"
#include "net/container_net.h"
#include "net/dns_server.h"
#include "net/firewall.h"
#include "net/foreign_firewall.h"
#include "net/held_name.h"
#include "net/inside.h"
#include "net/link.h"
#include "net/names.h"
#include "net/node_network.h"
#include "net/resolv_conf.h"
#include "net/route.h"
#include "net/sysctl.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds lock_pause{5};
constexpr std::chrono::seconds lock_limit{30};
constexpr int subnet_length = 30;
constexpr int networks_per_process = 1000;

Fd wait_for_name(const std::string& name) {
  auto end = std::chrono::steady_clock::now() + lock_limit;
  for (;;) {
    if (Fd fd = hold_name(name)) return fd;
    if (std::chrono::steady_clock::now() > end)
      throw Error("cannot lock the making of build networks: another process holds '@{}'", name);
    std::this_thread::sleep_for(lock_pause);
  }
}

// "rcb-PID-N…", "rayctl-build-PID-N…", "build-PID-N…" -> "PID-N"; "" when it isn't of that form.
std::string id_of(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return "";
  name.remove_prefix(prefix.size());
  size_t end = name.find_first_not_of("0123456789-");
  return std::string(name.substr(0, end));
}

std::string holder_name(const std::string& id) {
  return "rayctl-build-" + id;
}

bool is_abandoned(const std::string& id) {
  return !id.empty() && hold_name(holder_name(id));
}

std::string netns_lock(const std::string& run_dir, const std::string& id) {
  return join(run_dir, "netns/build-" + id + ".lock");
}

std::vector<NftRule> permits_for(const std::string& link, const Subnet& subnet) {
  auto permits = forward_permits(link, subnet);
  for (NftRule& permit : permits) permit.comment = fmt::format("build step {}", link);
  return permits;
}

// What builds that were killed have left.
void sweep(Netlink& route, Netlink& netfilter, const std::string& run_dir) {
  for (const Link& link : list_links(route))
    if (is_abandoned(id_of(link.name, build_prefix))) delete_link(route, link.name);
  for (const std::string& table : list_tables(netfilter))
    if (is_abandoned(id_of(table, build_table_prefix))) delete_table(netfilter, table);
  withdraw_permits_if(netfilter, [](const std::string& comment) {
    size_t at = comment.find(build_prefix);
    return at != std::string::npos && is_abandoned(id_of(comment.substr(at), build_prefix));
  });
  // A run directory may serve several network namespaces: its files are held by locks of their own.
  std::string directory = join(run_dir, "netns");
  for (const std::string& name : list_directory(directory)) {
    std::string id = id_of(name, "build-");
    if (id.empty() || name.ends_with(".lock")) continue;
    if (!FileLock::try_lock(netns_lock(run_dir, id), LockKind::exclusive)) continue;
    Netns::remove(run_dir, name);
    unlink(netns_lock(run_dir, id).c_str());
  }
}

std::vector<Subnet> build_subnets(Netlink& route) {
  std::vector<Subnet> subnets;
  for (const Link& link : list_links(route)) {
    if (!is_build_link(link.name)) continue;
    for (const LinkAddress& address : list_addresses(route, AF_INET, link.index))
      subnets.push_back(subnet_of(address.address, address.length));
  }
  return subnets;
}

// Networks of the host, without those of other builds.
std::vector<HostNetwork> others_networks(const std::vector<Subnet>& builds) {
  auto networks = host_networks(OwnNetworks::include);
  std::erase_if(networks, [&](const HostNetwork& network) {
    return std::any_of(builds.begin(), builds.end(),
                       [&](const Subnet& build) { return contains(build, network.subnet); });
  });
  return networks;
}

// Serves one namespace from the host's upstreams until destroyed.
class Resolver {
 public:
  explicit Resolver(const Netns& netns)
      : stop_(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "cannot make an event descriptor")),
        server_(poller_) {
    DnsTable table;
    table.absent = metadata_names();
    server_.set_table(std::move(table));
    server_.set_upstreams(read_upstreams("/etc/resolv.conf"));
    server_.add("build", bind_dns(netns, container_resolver()));
    bool* stopped = &stopped_;
    poller_.watch(stop_.get(), EPOLLIN, [stopped](uint32_t) { *stopped = true; });
    thread_ = std::thread([this] {
      // Signals are the command's, not this thread's.
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      try {
        while (!stopped_) poller_.run_once();
      } catch (const std::exception& error) {  // the end of a thread: nobody else would say it
        warn("the build's name server ended: {}", error.what());
      }
    });
  }
  ~Resolver() {
    uint64_t one = 1;
    while (write(stop_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    thread_.join();
  }

 private:
  Fd stop_;
  bool stopped_ = false;  // the thread's
  Poller poller_;
  DnsServer server_;
  std::thread thread_;
};

uint32_t egress_mtu() {
  constexpr uint32_t ethernet = 1500;
  Netlink route(NETLINK_ROUTE);
  auto choice = route_to(route, parse_address("192.0.2.1"));  // by the default route, if any
  if (!choice) return ethernet;
  for (const Link& link : list_links(route))
    if (link.index == choice->link && !link.loopback) return link.mtu;
  return ethernet;
}

}  // namespace

struct BuildNetwork::State {
  Fd holder;
  std::optional<FileLock> lock;
  std::string run_dir, id;
  std::string netns_name, netns_path, link, table;
  Subnet subnet;
  std::vector<NftRule> permits;
  std::optional<Resolver> resolver;

  // Each step on its own: what fails is left to the next build's sweep.
  void undo() noexcept {
    auto attempt = [](auto step) {
      try {
        step();
      } catch (const std::exception& error) {  // a destructor's: reported, not thrown
        debug("{}", error.what());
      }
    };
    attempt([&] { resolver.reset(); });
    attempt([&] {
      Netlink route(NETLINK_ROUTE);
      if (!link.empty()) delete_link(route, link);
    });
    attempt([&] {
      Netlink netfilter(NETLINK_NETFILTER);
      if (!table.empty()) delete_table(netfilter, table);
      if (!permits.empty()) withdraw_permits(netfilter, permits);
    });
    attempt([&] {
      if (netns_name.empty()) return;
      Netns::remove(run_dir, netns_name);
      unlink(netns_lock(run_dir, id).c_str());
    });
  }
};

BuildNetwork::BuildNetwork(const std::string& run_dir) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.run_dir = run_dir;
  try {
    Fd making = wait_for_name("rayctl-build-network");
    make_directories(join(run_dir, "netns"));
    Netlink route(NETLINK_ROUTE), netfilter(NETLINK_NETFILTER);
    sweep(route, netfilter, run_dir);
    for (int i = 0; i < networks_per_process && !state.lock; ++i) {
      state.id = fmt::format("{}-{}", getpid(), i);
      state.holder = hold_name(holder_name(state.id));
      if (state.holder) state.lock = FileLock::try_lock(netns_lock(run_dir, state.id), LockKind::exclusive);
    }
    if (!state.lock) throw Error("cannot hold more than {} at once", networks_per_process);
    const std::string& id = state.id;
    auto taken = build_subnets(route);
    state.subnet = choose_build_subnet(others_networks(taken), taken);
    state.netns_name = "build-" + id;
    Netns::remove(run_dir, state.netns_name);
    Netns netns = Netns::create(run_dir, state.netns_name);
    state.netns_path = netns.path();
    prepare_inside(netns);

    uint32_t base = to_uint32(state.subnet.base), mtu = egress_mtu();
    Address gateway = ipv4(base + 1), address = ipv4(base + 2);
    state.link = std::string(build_prefix) + id;
    create_veth(route, {.name = state.link,
                        .peer_name = "eth0",
                        .mac = container_mac(gateway),
                        .peer_mac = container_mac(address),
                        .mtu = mtu,
                        .netns = netns.fd()});
    Link link = require_link(route, state.link);
    set_sysctl_if_exists("ipv6/conf/" + state.link + "/disable_ipv6", "1");
    add_address(route, {link.index, gateway, subnet_length});
    set_link(route, link.index, link.name, {.up = true});
    configure_inside(netns, {.address = address,
                             .prefix_length = subnet_length,
                             .gateway = gateway,
                             .mac = container_mac(address),
                             .mtu = mtu,
                             .unreachable = metadata_subnets()});

    state.table = std::string(build_table_prefix) + id;
    apply_table(netfilter, build_table(state.table, state.link, state.subnet));
    state.permits = permits_for(state.link, state.subnet);
    for (const std::string& problem : permit_forwarding(netfilter, state.permits, {}).problems)
      warn("{}", problem);
    set_sysctl("ipv4/ip_forward", "1");  // stays: others may have come to need it
    state.resolver.emplace(netns);
  } catch (Error& error) {
    state.undo();
    error.prefix("making the build step's network");
    throw;
  }
}

BuildNetwork::~BuildNetwork() {
  state_->undo();
}

const std::string& BuildNetwork::netns_path() const {
  return state_->netns_path;
}

std::string BuildNetwork::resolv_conf() const {
  return "nameserver 127.0.0.11\noptions ndots:0\n";
}

std::string BuildNetwork::hosts(const std::string& hostname) const {
  return hosts_file(ipv4(to_uint32(state_->subnet.base) + 2), {hostname});
}

}  // namespace rayctl::net
