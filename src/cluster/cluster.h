// What a cluster and its nodes are, on the wire, in the journal and in memory.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "cluster/token.h"
#include "net/policy.h"

namespace rayctl::cluster {

// Which connections a deployment allows. Which containers bear a label isn't told here: a container is member
// N of LABEL when its node gives it the name "N.LABEL" (Node::names); label_members() gathers them.
struct Policy {
  std::vector<std::string> labels;    // those that exist, also without a member at the moment
  std::vector<net::Connect> connect;  // "public" is everything outside
  net::Egress egress = net::Egress::open;
  std::vector<std::string> metadata = {};  // labels that may ask the cloud's metadata service
  bool operator==(const Policy&) const = default;
};
nlohmann::json to_json(const Policy& policy);
Policy parse_policy(const Json& json);  // checks labels and ports

// Settings that are fixed when the cluster is created, and those that all nodes share.
struct Cluster {
  std::string id;              // 16 hex digits, random
  std::string prefix = "ray";  // node names: <prefix>-ms-0, <prefix>-wk-N
  std::string pool;            // "10.64.0.0/12"
  uint8_t node_prefix = 26;    // length of a node's subnet
  std::string overlay;         // "vxlan", …; the mode's own name
  std::string image;           // what every node runs, unless it was told otherwise
  uint32_t workers = 0;        // how many make "all"
  WallTime created;
  std::map<std::string, std::string> settings = {};  // what later parts add, e.g. the VXLAN port
  std::optional<Policy> policy = {};  // of a deployment; empty: all containers are open to each other
};

// joined: heard from. suspect: silent for a while; keeps names and routes. down: names withdrawn, subnet and
// index kept. expired: subnet and index are free for others. removed: by an operator; its certificate is
// refused.
enum class NodeStatus { joined, suspect, down, expired, removed };
std::string_view status_name(NodeStatus status);

// One machine of the cluster as the head knows it and tells the others.
struct Node {
  std::string id;                        // node_id() of its key
  std::string name;                      // a DNS label, unique in the cluster
  MemberRole role = MemberRole::worker;  // head or worker
  uint32_t index = 0;                    // the N of its default name, per role
  uint32_t slot = 0;                     // which subnet of the pool
  std::string subnet, gateway, address;  // "10.64.0.64/26", its bridge's address, its Ray container's address
  std::string underlay;                  // the address that other nodes reach it at
  std::string vtep_mac;                  // of its end of the tunnel; as the node said
  std::string public_key;                // of its end of an encrypted tunnel; as the node said
  std::string overlay;                   // how it encrypts, "wireguard" or "userspace"; as the node said
  std::string seen;                      // where the head sees it, when that isn't `underlay`: behind NAT
  NodeStatus status = NodeStatus::joined;
  WallTime joined, last_seen, down_since;
  uint64_t version = 0;                      // of the state that last changed it
  std::map<std::string, std::string> names;  // further names of its containers -> address in its subnet
  std::set<std::string> ill;                 // of those names: whose containers aren't healthy now
  std::map<std::string, std::string> labels;
  bool present() const { return status == NodeStatus::joined || status == NodeStatus::suspect; }
};

// What a node tells the head of its containers' names beside its own.
struct ContainerNames {
  std::map<std::string, std::string> addresses;  // by name: "db", or "2.web" for member 2 of a label
  std::set<std::string> ill;                     // of those: whose containers aren't healthy now
  bool operator==(const ContainerNames&) const = default;
};

// Whether containers are in their machine's own network namespace: there is no overlay then.
inline constexpr const char* host_overlay = "host";
inline bool shares_host_network(const Cluster& cluster) {
  return cluster.overlay == host_overlay;
}
// Where a container is reached whose place on `node` has the address `planned`: there, or without an overlay
// at the node's own address.
const std::string& reached_at(const Cluster& cluster, const Node& node, const std::string& planned);

nlohmann::json to_json(const Cluster& cluster);
nlohmann::json to_json(const Node& node);
Cluster parse_cluster(const Json& json);
Node parse_node(const Json& json);  // within a Delta without the addresses, which follow from the slot

bool valid_container_name(
    std::string_view name);  // a node's, or such a label with a number in front: "2.web"
bool valid_node_name(
    std::string_view name);  // a DNS label, lower case, at most 63, not "head" or "localhost"

// Where slot N of the pool lies (net's address plan); an Error that names the limit when the pool has no such
// slot.
struct NodeAddresses {
  std::string subnet, gateway, address;
};
NodeAddresses node_addresses(const Cluster& cluster, uint32_t slot);

// What every node knows of the cluster: the same on the head and on workers, where it comes over the stream
// or from the disk when the head can't be reached.
struct ClusterView {
  Cluster cluster;
  uint64_t epoch = 0;                      // of the head's supervisor; grows at each of its starts
  uint64_t version = 0;                    // of the state; grows with each change, over restarts too
  std::map<std::string, Node> nodes = {};  // by id: joined, suspect and down ones
};

nlohmann::json to_json(const ClusterView& view);
ClusterView parse_view(const Json& json);

// A container that bears a label: "2.web" is member 2 of "web".
struct Member {
  uint32_t number = 0;
  std::string address;
  std::string node;  // its node's id
  bool healthy = true;
};
std::map<std::string, std::vector<Member>> label_members(const ClusterView& view);  // by label, then number

struct Name {
  std::string name;  // without ".q"
  std::string address;
  std::string node;  // its node's id
};
// Every name that exists: node names, "head", the containers' own, of nodes that are joined or suspect, and
// labels: each healthy member's address, or every member's when none is healthy. Sorted.
std::vector<Name> names(const ClusterView& view);
const Node* find_node(const ClusterView& view,
                      std::string_view name_or_id_prefix);  // null: none, or not unique

}  // namespace rayctl::cluster
