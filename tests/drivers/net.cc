// What a node and a build step do with the network, for tests/functional/5*-*.sh: `net node`, `net build`,
// `net names`, `net peers`, with what they need in the environment.
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>

#include "base/child.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "net/address_plan.h"
#include "net/build_network.h"
#include "net/checksums.h"
#include "net/dns_process.h"
#include "net/node_network.h"
#include "net/path_mtu.h"
#include "ray/node_net.h"
#include "wg/tunnel_process.h"

using namespace rayctl;
using namespace rayctl::net;

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  if (!value) throw Error("LAB needs {}", name);
  return value;
}

std::string setting_or(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value ? value : fallback;
}

// Of a node's number: every driver knows every key.
WireguardKey lab_key(const std::string& number) {
  std::string bytes = sha256("node " + number + setting_or("LAB_KEYS", ""));
  WireguardKey key;
  std::copy(bytes.begin(), bytes.end(), key.begin());
  key[0] &= 248;
  key[31] = static_cast<uint8_t>((key[31] & 127) | 64);
  return key;
}

// LAB_POLICY: a cluster's policy in JSON, with {"members": {label: [address]}, "ray": [address]} beside it.
std::optional<Policy> policy_from_environment() {
  std::string text = setting_or("LAB_POLICY", "");
  if (text.empty()) return std::nullopt;
  Json json = Json::parse(text, "LAB_POLICY");
  cluster::Policy declared = cluster::parse_policy(json);
  Policy policy;
  for (const std::string& label : declared.labels) policy.labels[label];
  for (const auto& [label, addresses] : json.at("members").members())
    for (const std::string& address : addresses.strings())
      policy.labels[label].push_back(parse_address(address));
  for (const std::string& address : json.strings_or_empty("ray"))
    policy.ray.push_back(parse_address(address));
  policy.connect = declared.connect;
  policy.egress = declared.egress;
  policy.metadata = {declared.metadata.begin(), declared.metadata.end()};
  return policy;
}

// As NodeNet does it.
class LabTunnel {
 public:
  explicit LabTunnel(const std::string& run_dir) : process_(run_dir, setting_or("RAYCTL", "")) {}

  std::vector<std::string> run(const std::string& link, uint32_t mtu, const WireguardDevice& device) {
    wg::TunnelTable table = ray::wanted_tunnel({}, link, mtu, device, version_);
    if (!written_ || !(*written_ == table)) {
      table.version = ++version_;
      process_.write_table(table);
      written_ = table;
    }
    std::vector<std::string> changes;
    if (std::string said = process_.ensure(); !said.empty()) changes.push_back(said);
    process_.wait_table(version_, std::chrono::seconds(5));
    return changes;
  }
  void stop() { process_.stop(); }
  Fd watch() const { return process_.watch(); }

 private:
  wg::TunnelProcess process_;
  std::optional<wg::TunnelTable> written_;
  uint64_t version_ = static_cast<uint64_t>(time(nullptr)) * 1000;
};

// Node LAB_NODE of a cluster; LAB_PEERS = "1=192.0.2.2 2=192.0.2.3", LAB_CONTAINERS = "a b": names of
// namespaces below LAB_RUN_DIR, made when missing.
NodeNetwork node_from_environment(const std::string& run_dir) {
  AddressPlan plan{parse_subnet(setting_or("LAB_POOL", "10.64.0.0/12")), 26};
  NodeNetwork node;
  std::string mode = setting_or("LAB_MODE", "vxlan");
  for (OverlayMode one : {OverlayMode::wireguard, OverlayMode::userspace})
    if (mode == mode_name(one)) node.overlay.mode = one;
  bool encrypted = encrypts(node.overlay.mode);
  if (encrypted) node.overlay.port = default_wireguard_port;
  node.overlay.private_key = lab_key(setting("LAB_NODE"));
  node.policy = policy_from_environment();
  std::vector<std::string> behind = split(setting_or("LAB_NAT", ""), ' ');  // numbers of nodes
  auto is_behind = [&](const std::string& number) {
    return std::find(behind.begin(), behind.end(), number) != behind.end();
  };
  node.overlay.behind_nat = is_behind(setting("LAB_NODE"));
  node.overlay.relays = setting("LAB_NODE") == "0";
  node.overlay.pool = plan.pool;
  node.overlay.subnet = node_subnet(plan, static_cast<uint32_t>(std::stoul(setting("LAB_NODE"))));
  node.overlay.underlay = parse_address(setting("LAB_UNDERLAY"));
  for (const std::string& word : split(setting_or("LAB_PEERS", ""), ' ')) {
    if (word.empty()) continue;
    auto parts = split(word, '=');
    Subnet subnet = node_subnet(plan, static_cast<uint32_t>(std::stoul(parts.at(0))));
    node.overlay.peers.push_back({"node " + parts[0], subnet, parse_address(parts.at(1)), vtep_mac(subnet),
                                  public_key(lab_key(parts[0])), is_behind(parts[0]), parts[0] == "0"});
  }
  uint32_t slot = 0;
  for (const std::string& name : split(setting_or("LAB_CONTAINERS", ""), ' ')) {
    if (name.empty()) continue;
    Netns netns = Netns::create(run_dir, name);
    node.containers.push_back(attachment(name, netns.path(), node.overlay.subnet, slot++, 1450));
  }
  return node;
}

void say(const Reconciled& result) {
  for (const std::string& change : result.changes) std::cout << "change: " << change << "\n";
  for (const std::string& problem : result.problems) std::cout << "problem: " << problem << "\n";
  std::cout << "reconciled: " << result.changes.size() << " changes, MTU " << result.mtu << std::endl;
}

// LAB_COMMAND, told of `variables` ("K=V").
int run_command(const std::vector<std::string>& variables) {
  std::vector<std::string> environment = variables;
  for (char** e = environ; *e; ++e) environment.emplace_back(*e);
  Child child = Child::spawn({.argv = {"bash", "-euc", setting("LAB_COMMAND")}, .env = environment});
  return child.wait().code.value_or(128);
}

int build() {
  std::string run_dir = setting("LAB_RUN_DIR");
  BuildNetwork network(run_dir);
  replace_file(run_dir + "/resolv.conf", network.resolv_conf());
  replace_file(run_dir + "/hosts", network.hosts("builder"));
  return run_command({"NETNS=" + network.netns_path()});
}

int node() {
  std::string run_dir = setting("LAB_RUN_DIR");
  NodeNetwork node = node_from_environment(run_dir);
  LabTunnel tunnel(run_dir);
  if (node.overlay.mode != OverlayMode::userspace) tunnel.stop();
  NetworkReconciler network(run_dir,
                            [&](const std::string& link, uint32_t mtu, const WireguardDevice& device) {
                              return tunnel.run(link, mtu, device);
                            });
  std::string action = setting("LAB_ACTION");
  if (action == "reconcile") {
    say(network.reconcile(node));
  } else if (action == "paths") {  // as the supervisor does it at the regular look
    uint32_t mtu = network.reconcile(node).mtu;
    PathMtus paths;
    std::vector<Peer> asked = paths.next(node.overlay.peers, 32);
    for (const std::string& line : paths.take(asked, find_path_mtus(asked, mtu), mtu))
      std::cout << "path: " << line << "\n";
    paths.apply(node.overlay.peers);
    if (node.overlay.mode == OverlayMode::vxlan) {
      ChecksumFinding checksums;
      checksums.take(asked, test_checksums(asked), leaves_checksums(overlay_link_name(node.overlay)));
      if (!checksums.problem().empty()) std::cout << "checksums: " << checksums.problem() << "\n";
      node.overlay.compute_checksums = checksums.compute();
    }
    say(network.reconcile(node));
  } else if (action == "remove") {
    tunnel.stop();
    network.remove(node);
    for (const Attachment& container : node.containers) Netns::remove(run_dir, container.container);
  } else {  // as the supervisor does, for LAB_SECONDS
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::stoi(setting("LAB_SECONDS")));
    say(network.reconcile(node));
    while (std::chrono::steady_clock::now() < end && !exists(run_dir + "/end-watch")) {
      Fd death = tunnel.watch();
      std::array<pollfd, 2> waited = {pollfd{network.event_fd(), POLLIN, 0}, pollfd{death.get(), POLLIN, 0}};
      poll(waited.data(), death ? 2 : 1, 100);
      if (network.drain_events() || (death && waited[1].revents)) say(network.reconcile(node));
    }
    remove_tree(run_dir + "/end-watch");
  }
  return 0;
}

// The supervisor's side of `rayctl dns`: LAB_NETNS is served, "gone" can't be.
int names() {
  std::string run_dir = setting("LAB_RUN_DIR");
  DnsProcess dns(run_dir, setting("RAYCTL"));
  std::cout << "first: " << dns.ensure() << std::endl;
  DnsTable table;
  table.version = 5;
  add_name(table, "head", parse_address("10.64.0.2"));
  table.containers = {{"here", setting("LAB_NETNS")}, {"gone", "/nowhere/gone"}};
  dns.write_table(table);
  dns.wait_serving("here", 5, std::chrono::seconds(5));
  std::cout << "again: " << dns.ensure() << std::endl;
  try {
    dns.wait_serving("gone", 5, std::chrono::milliseconds(300));
  } catch (const Error& error) {
    std::cout << "error: " << error.message() << std::endl;
  }
  int code = run_command({});
  dns.stop();
  std::cout << "stopped: " << (dns.status() ? "no" : "yes") << std::endl;
  return code;
}

// LAB_COUNT peers are installed in mode LAB_MODE, and looked over twice.
int peers() {
  std::string run_dir = setting("LAB_RUN_DIR");
  NodeNetwork node = node_from_environment(run_dir);
  uint32_t count = static_cast<uint32_t>(std::stoul(setting("LAB_COUNT")));
  AddressPlan plan{node.overlay.pool, 26};
  for (uint32_t i = 1; i <= count; ++i) {
    Subnet subnet = node_subnet(plan, i);
    WireguardKey key = {};
    std::string bytes = sha256("peer " + std::to_string(i));  // any 32 bytes are a public key
    std::copy(bytes.begin(), bytes.end(), key.begin());
    node.overlay.peers.push_back({"node", subnet, ipv4(0xc6120000 + i), vtep_mac(subnet), key});
  }
  LabTunnel tunnel(run_dir);
  NetworkReconciler network(run_dir,
                            [&](const std::string& link, uint32_t mtu, const WireguardDevice& device) {
                              return tunnel.run(link, mtu, device);
                            });
  for (int i = 0; i < 3; ++i) {
    auto begin = std::chrono::steady_clock::now();
    std::clock_t used = std::clock();
    size_t changes = network.reconcile(node).changes.size();
    std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    std::cout << count << " peers: " << changes << " changes in " << took.count() << " ms, "
              << static_cast<double>(std::clock() - used) * 1000 / CLOCKS_PER_SEC << " ms of CPU"
              << std::endl;
  }
  tunnel.stop();
  network.remove(node);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::string action = argc == 2 ? argv[1] : "";
    if (action == "build") return build();
    if (action == "node") return node();
    if (action == "names") return names();
    if (action == "mounts") {
      std::cout << "mounts: " << DnsProcess(setting("LAB_RUN_DIR"), setting("RAYCTL")).ensure() << std::endl;
      return 0;
    }
    if (action == "peers") return peers();
    throw Error("usage: net build|mounts|names|node|peers");
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
