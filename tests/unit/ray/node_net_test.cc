#include "ray/node_net.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "net/address_plan.h"

using namespace rayctl;
using namespace rayctl::ray;
using Catch::Matchers::Contains;

namespace {

net::WireguardKey key_of(uint32_t slot) {
  net::WireguardKey key = {};
  key.fill(static_cast<uint8_t>(slot + 1));
  return key;
}

cluster::Node node(uint32_t slot, const std::string& name, cluster::ClusterView& view) {
  cluster::Node n;
  n.id = fmt::format("{:020x}", slot);
  n.name = name;
  n.role = slot == 0 ? cluster::MemberRole::head : cluster::MemberRole::worker;
  n.slot = slot;
  cluster::NodeAddresses a = cluster::node_addresses(view.cluster, slot);
  n.subnet = a.subnet;
  n.gateway = a.gateway;
  n.address = a.address;
  n.underlay = fmt::format("192.0.2.{}", slot + 1);
  n.public_key = net::to_text(net::public_key(key_of(slot)));
  n.overlay = "userspace";
  return n;
}

cluster::ClusterView three_nodes() {
  cluster::ClusterView view;
  view.cluster.pool = "10.64.0.0/12";
  view.cluster.overlay = "auto";
  for (auto [slot, name] : {std::pair{0u, "ray-ms-0"}, {1u, "ray-wk-0"}, {2u, "ray-wk-1"}}) {
    cluster::Node n = node(slot, name, view);
    view.nodes[n.id] = n;
  }
  return view;
}

const cluster::Node& self_of(const cluster::ClusterView& view) {
  return view.nodes.begin()->second;
}

OwnNetwork own() {
  return {net::OverlayMode::userspace, key_of(0)};
}

}  // namespace

TEST_CASE("a view becomes a network; a node whose key is nonsense costs the others nothing", "[node-net]") {
  cluster::ClusterView view = three_nodes();
  std::vector<std::string> problems;
  net::NodeNetwork wanted = wanted_network(view, self_of(view), own(), {}, &problems);
  CHECK(problems.empty());
  CHECK(wanted.overlay.port == net::default_wireguard_port);
  REQUIRE(wanted.overlay.peers.size() == 2);
  CHECK(wanted.overlay.peers[0].key == net::public_key(key_of(1)));
  CHECK_FALSE(wanted.policy);
  view.nodes.rbegin()->second.public_key = "garbage";
  view.cluster.settings[overlay_port_setting] = "4500";
  wanted = wanted_network(view, self_of(view), own(), {}, &problems);
  CHECK(wanted.overlay.peers.size() == 1);
  CHECK(wanted.overlay.port == 4500);
  REQUIRE(problems.size() == 1);
  CHECK_THAT(problems[0], Contains("node 'ray-wk-1' is not reached: not a WireGuard key"));
  OwnNetwork plain{net::OverlayMode::vxlan, {}};  // where keys don't matter
  CHECK(wanted_network(three_nodes(), self_of(view), plain, {}).overlay.port == net::default_vxlan_port);
  CHECK(wanted_network(view, self_of(view), plain, {}).overlay.peers.size() == 2);
}

TEST_CASE("the tunnel's table: the fast cipher only between those that both have it", "[node-net]") {
  cluster::ClusterView view = three_nodes();
  view.nodes.rbegin()->second.overlay = "wireguard";
  net::NodeNetwork wanted = wanted_network(view, self_of(view), own(), {});
  net::WireguardDevice device = net::wireguard_device(wanted.overlay);
  auto ciphers = [&] {
    size_t fast = 0;
    for (const wg::TunnelPeer& peer : wanted_tunnel(view, "rayctl.wg", 1420, device, 1).peers)
      fast += peer.cipher == wg::Cipher::aes256gcm;
    return fast;
  };
  CHECK(ciphers() == 0);
  view.cluster.settings[overlay_cipher_setting] = "aes256gcm";
  CHECK(ciphers() == 1);
  view.nodes.begin()->second.seen = "198.51.100.1";  // behind NAT: it keeps the way open itself
  device = net::wireguard_device(wanted_network(view, self_of(view), own(), {}).overlay);
  for (const wg::TunnelPeer& peer : wanted_tunnel(view, "rayctl.wg", 1420, device, 1).peers)
    CHECK(peer.keepalive == std::chrono::seconds(net::nat_keepalive));
}

TEST_CASE("without a deployment: closed egress and metadata are settings of the cluster", "[node-net]") {
  cluster::ClusterView view = three_nodes();
  net::NodeNetwork wanted = wanted_network(view, self_of(view), own(), {});
  CHECK_FALSE(wanted.policy);
  CHECK(wanted.metadata == net::Metadata::blocked);
  CHECK_FALSE(wanted_names(view, {}, 1).absent.empty());
  view.cluster.settings[egress_setting] = "declared";
  view.cluster.settings[metadata_setting] = "allowed";
  wanted = wanted_network(view, self_of(view), own(), {});
  REQUIRE(wanted.policy);
  CHECK(wanted.policy->egress == net::Egress::declared);
  CHECK(wanted.policy->ray.size() == 3);
  CHECK(wanted.metadata == net::Metadata::allowed);
  CHECK(wanted_names(view, {}, 1).absent.empty());
}

TEST_CASE("a policy: Ray's own containers stay together, and names are seen by those who may connect",
          "[node-net]") {
  cluster::ClusterView view = three_nodes();
  auto it = view.nodes.begin();
  cluster::Node &head = it->second, &first = (++it)->second, &second = (++it)->second;
  second.names = {{"1.web", second.address},
                  {"1.db", net::to_string(net::container_address(net::parse_subnet(second.subnet), 1))}};
  view.cluster.policy = cluster::Policy{.labels = {"web", "db"}, .connect = {{"web", "db", 1, 2, {}}}};
  net::NodeNetwork wanted = wanted_network(view, head, own(), {});
  REQUIRE(wanted.policy);
  CHECK(wanted.policy->ray ==
        std::vector{net::parse_address(head.address), net::parse_address(first.address)});
  CHECK(wanted.policy->labels.at("web") == std::vector{net::parse_address(second.address)});
  net::Subnet subnet = net::parse_subnet(second.subnet);
  net::Attachment web = net::attachment("aa", "/n/aa", subnet, 0, 1420),
                  db = net::attachment("bb", "/n/bb", subnet, 1, 1420);
  net::Attachment ray = net::attachment("cc", "/n/cc", net::parse_subnet(first.subnet), 0, 1420);
  net::DnsTable table = wanted_names(view, {web, db, ray}, 1);
  using Names = std::vector<std::string>;
  CHECK(table.containers[0].visible == Names{"1.db.q", "1.web.q", "db.q", "ray-wk-1.q", "web.q"});
  CHECK(table.containers[1].visible == Names{"1.db.q", "db.q"});
  CHECK(table.containers[2].visible == Names{"head.q", "ray-ms-0.q", "ray-wk-0.q"});
  CHECK(table.reverse.at(net::parse_address(second.address)) == "1.web.q");
  CHECK(table.names.at("web.q").size() == 1);
  view.cluster.policy.reset();
  CHECK_FALSE(wanted_names(view, {web}, 1).containers[0].visible);
}

TEST_CASE("without an overlay names lead to the machines, and what isn't enforced is told", "[node-net]") {
  cluster::ClusterView view = three_nodes();
  view.cluster.overlay = "host";
  cluster::Node& last = view.nodes.rbegin()->second;
  last.names = {{"1.web", last.address}};
  OwnNetwork none{net::OverlayMode::host, {}};
  net::Attachment first{.container = "aa", .netns = "/n/host"}, second{.container = "bb", .netns = "/n/host"};
  net::DnsTable table = wanted_names(view, {first, second}, 1);
  CHECK(table.names.at("ray-wk-1.q") == std::vector{net::parse_address("192.0.2.3")});
  CHECK(table.names.at("head.q") == std::vector{net::parse_address("192.0.2.1")});
  CHECK(table.names.at("web.q") == std::vector{net::parse_address("192.0.2.3")});
  REQUIRE(table.containers.size() == 1);  // one network namespace of all
  CHECK(table.containers[0].id == shared_namespace);
  CHECK(table.containers[0].netns == "/n/host");
  CHECK(table.pools.empty());
  CHECK(wanted_names(view, {}, 1).containers.empty());

  std::vector<std::string> problems;
  wanted_network(view, self_of(view), none, {}, &problems);
  CHECK(problems.empty());
  view.cluster.policy = cluster::Policy{.labels = {"web"}};
  wanted_network(view, self_of(view), none, {}, &problems);
  REQUIRE(problems.size() == 1);
  CHECK_THAT(problems[0], Contains("nothing is closed: overlay 'host' has no rules"));
  view.cluster.policy->egress = net::Egress::declared;
  CHECK_THROWS_WITH(wanted_network(view, self_of(view), none, {}),
                    Contains("cannot keep 'egress: declared'"));
}

TEST_CASE("two nodes behind NAT reach each other through the head", "[node-net]") {
  cluster::ClusterView view = three_nodes();
  auto it = view.nodes.begin();
  cluster::Node &head = it->second, &first = (++it)->second, &second = (++it)->second;
  first.seen = second.seen = "198.51.100.1";
  net::OverlayMode mode = net::OverlayMode::userspace;
  auto device_of = [&](const cluster::Node& self) {
    return net::wireguard_device(wanted_network(view, self, {mode, key_of(self.slot)}, {}).overlay);
  };
  net::WireguardDevice behind = device_of(first);
  REQUIRE(behind.peers.size() == 1);  // the head alone, with its own subnet and the other's
  CHECK(behind.peers.begin()->second.endpoint);
  CHECK(behind.peers.begin()->second.allowed ==
        std::vector{net::parse_subnet(head.subnet), net::parse_subnet(second.subnet)});
  net::WireguardDevice relay = device_of(head);
  REQUIRE(relay.peers.size() == 2);
  for (const auto& [key, peer] : relay.peers) CHECK_FALSE(peer.endpoint);  // they call
  second.seen.clear();
  CHECK(device_of(first).peers.size() == 2);  // that one can be called
}
