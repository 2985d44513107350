// What of a cluster's view a node's kernel, name server and tunnel should hold: pure.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <set>

#include "base/error.h"
#include "net/address_plan.h"
#include "net/firewall.h"
#include "ray/node_net.h"

namespace rayctl::ray {

namespace {

std::string setting(const cluster::ClusterView& view, const char* key) {
  auto at = view.cluster.settings.find(key);
  return at == view.cluster.settings.end() ? "" : at->second;
}

uint16_t overlay_port(const cluster::ClusterView& view, net::OverlayMode mode) {
  std::string text = setting(view, overlay_port_setting);
  uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc() && end == text.data() + text.size() && port != 0) return port;
  return net::encrypts(mode) ? net::default_wireguard_port : net::default_vxlan_port;
}

net::Peer peer_of(const cluster::Node& node, bool encrypts) {
  net::Peer peer{.name = node.name,
                 .subnet = net::parse_subnet(node.subnet),
                 .underlay = net::parse_address(node.underlay)};
  peer.mac = node.vtep_mac.empty() ? net::vtep_mac(peer.subnet) : net::parse_mac(node.vtep_mac);
  peer.behind_nat = !node.seen.empty();
  peer.relays = node.role == cluster::MemberRole::head;
  if (!encrypts) return peer;
  if (node.public_key.empty()) throw Error("it has no key of the overlay");
  peer.key = net::parse_wireguard_key(node.public_key);
  return peer;
}

// Which containers are Ray's own: those in a node's first place that bear no label.
std::vector<net::Address> ray_containers(const cluster::ClusterView& view, const net::Policy& policy) {
  std::set<net::Address> labelled;
  for (const auto& [label, members] : policy.labels) labelled.insert(members.begin(), members.end());
  std::vector<net::Address> ray;
  for (const auto& [id, node] : view.nodes)
    if (net::Address address = net::parse_address(node.address); !labelled.contains(address))
      ray.push_back(address);
  return ray;
}

bool egress_declared(const cluster::ClusterView& view) {
  return setting(view, egress_setting) == "declared";
}

net::Policy policy_of(const cluster::ClusterView& view) {
  cluster::Policy declared = view.cluster.policy.value_or(cluster::Policy{});
  net::Policy policy;
  for (const auto& [label, members] : cluster::label_members(view)) {
    std::vector<net::Address>& addresses = policy.labels[label];
    for (const cluster::Member& member : members) addresses.push_back(net::parse_address(member.address));
  }
  policy.ray = ray_containers(view, policy);
  policy.connect = declared.connect;
  policy.egress = egress_declared(view) ? net::Egress::declared : declared.egress;
  policy.metadata = {declared.metadata.begin(), declared.metadata.end()};
  return policy;
}

// The names that the container at `address` may look up, sorted.
std::vector<std::string> visible_names(const std::vector<cluster::Name>& all, const net::Policy& policy,
                                       const net::Address& address) {
  std::set<std::string> own;
  for (const auto& [label, members] : policy.labels)
    if (std::find(members.begin(), members.end(), address) != members.end()) own.insert(label);
  std::set<std::string> labels = net::visible_labels(policy, own);
  std::set<net::Address> ray(policy.ray.begin(), policy.ray.end());
  bool is_ray = ray.contains(address);
  std::set<std::string> visible;
  for (const cluster::Name& name : all) {
    size_t dot = name.name.find('.');
    std::string label = dot == std::string::npos ? name.name : name.name.substr(dot + 1);
    net::Address at = net::parse_address(name.address);
    bool of_label = policy.labels.contains(label);
    if (at == address || (of_label ? labels.contains(label) : is_ray && ray.contains(at)))
      visible.insert(name.name);
  }
  return {visible.begin(), visible.end()};
}

}  // namespace

net::NodeNetwork wanted_network(const cluster::ClusterView& view, const cluster::Node& self,
                                const OwnNetwork& own, const std::vector<net::Attachment>& containers,
                                std::vector<std::string>* problems) {
  net::NodeNetwork wanted;
  wanted.overlay.mode = own.mode;
  wanted.overlay.port = overlay_port(view, own.mode);
  wanted.overlay.private_key = own.private_key;
  wanted.overlay.behind_nat = !self.seen.empty();
  wanted.overlay.relays = self.role == cluster::MemberRole::head;
  wanted.overlay.pool = net::parse_subnet(view.cluster.pool);
  wanted.overlay.subnet = net::parse_subnet(self.subnet);
  wanted.overlay.underlay = net::parse_address(self.underlay);
  wanted.containers = containers;
  for (const auto& [id, node] : view.nodes) {
    if (id == self.id || node.underlay.empty()) continue;
    try {
      wanted.overlay.peers.push_back(peer_of(node, net::encrypts(own.mode)));
    } catch (const Error& error) {  // one node's nonsense is no reason to lose the others
      if (problems)
        problems->push_back(fmt::format("node '{}' is not reached: {}", node.name, error.message()));
    }
  }
  if (setting(view, metadata_setting) == "allowed") wanted.metadata = net::Metadata::allowed;
  if (view.cluster.policy || egress_declared(view)) wanted.policy = policy_of(view);
  bool host = own.mode == net::OverlayMode::host;
  if (host && wanted.policy && wanted.policy->egress == net::Egress::declared)
    throw Error(
        "cannot keep 'egress: declared' with overlay 'host': it has no rules of its own (any other --overlay "
        "has)");
  if (host && wanted.policy && problems)
    problems->push_back(
        "the deployment's connections open what they say, but nothing is closed: overlay 'host' has no rules "
        "of its own (the machines' and the cloud's firewalls stand alone; any other --overlay closes the "
        "rest)");
  return wanted;
}

net::DnsTable wanted_names(const cluster::ClusterView& view, const std::vector<net::Attachment>& containers,
                           uint64_t version) {
  net::DnsTable table;
  table.version = version;
  bool shared = cluster::shares_host_network(view.cluster);
  if (!shared) table.pools = {net::parse_subnet(view.cluster.pool)};
  bool asked = setting(view, metadata_setting) == "allowed" ||
               (view.cluster.policy && !view.cluster.policy->metadata.empty());
  if (!asked) table.absent = net::metadata_names();
  std::vector<cluster::Name> all = cluster::names(view);
  // An address's reverse name is the first that it gets: "2.web" or its node's; "head" and labels are
  // aliases.
  std::map<std::string, std::vector<cluster::Member>> labels = cluster::label_members(view);
  std::stable_partition(all.begin(), all.end(),
                        [&](const cluster::Name& n) { return n.name != "head" && !labels.contains(n.name); });
  for (const cluster::Name& name : all) net::add_name(table, name.name, net::parse_address(name.address));
  if (shared) {  // one namespace, of all
    if (!containers.empty()) table.containers = {{shared_namespace, containers.front().netns}};
    return table;
  }
  std::optional<net::Policy> policy;
  if (view.cluster.policy) policy = policy_of(view);
  for (const net::Attachment& a : containers) {
    net::DnsNamespace& served = table.containers.emplace_back(net::DnsNamespace{a.container, a.netns});
    if (!policy) continue;
    served.visible.emplace();
    for (const std::string& name : visible_names(all, *policy, a.address))
      served.visible->push_back(name + "." + table.zone);
  }
  return table;
}

wg::TunnelTable wanted_tunnel(const cluster::ClusterView& view, const std::string& link, uint32_t mtu,
                              const net::WireguardDevice& device, uint64_t version) {
  bool fast = setting(view, overlay_cipher_setting) == "aes256gcm";
  std::set<std::string> userspace;  // whose public keys
  for (const auto& [id, node] : view.nodes)
    if (node.overlay == "userspace") userspace.insert(node.public_key);
  wg::TunnelTable table;
  table.version = version;
  table.interface = link;
  table.mtu = mtu;
  std::copy(device.private_key.begin(), device.private_key.end(), table.private_key.bytes.begin());
  table.listen_port = device.port;
  for (const auto& [key, peer] : device.peers) {
    wg::TunnelPeer p;
    p.public_key = key;
    if (peer.endpoint) p.endpoint = wg::Endpoint{peer.endpoint->address, peer.endpoint->port};
    p.allowed_ips = peer.allowed;
    p.keepalive = std::chrono::seconds(peer.keepalive);
    if (fast && userspace.contains(net::to_text(key))) p.cipher = wg::Cipher::aes256gcm;
    table.peers.push_back(std::move(p));
  }
  return table;
}

}  // namespace rayctl::ray
