// What of the membership crosses the wire: a node's facts, and deltas of the state.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cluster/membership.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_fact = 256, max_labels = 64;

// Facts go to every node and onto terminals: nothing but printable ASCII.
std::string fact(const Json& json, std::string_view key) {
  std::string value = json.string_or(key, "");
  bool clean = value.size() <= max_fact &&
               std::all_of(value.begin(), value.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!clean)
    throw Error("{}.{}: longer than {} characters, or not printable ASCII", json.path(), key, max_fact);
  return value;
}

}  // namespace

nlohmann::json to_json(const NodeFacts& facts) {
  return {{"id", facts.id},
          {"role", role_name(facts.role)},
          {"name", facts.name},
          {"underlay", facts.underlay},
          {"vtep_mac", facts.vtep_mac},
          {"public_key", facts.public_key},
          {"overlay", facts.overlay},
          {"labels", facts.labels}};
}

NodeFacts parse_facts(const Json& json) {
  NodeFacts facts;
  facts.id = fact(json, "id");
  bool is_id = facts.id.size() == 20 && std::all_of(facts.id.begin(), facts.id.end(), [](char c) {
                 return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
               });
  if (!is_id) throw Error("{}.id: not a node's id", json.path());
  auto role = role_by_name(json.at("role").string());
  if (!role || (*role != MemberRole::head && *role != MemberRole::worker))
    throw Error("{}.role: '{}' is neither head nor worker", json.path(), printable(json.at("role").string()));
  facts.role = *role;
  facts.name = fact(json, "name");
  facts.underlay = fact(json, "underlay");
  facts.vtep_mac = fact(json, "vtep_mac");
  facts.public_key = fact(json, "public_key");
  facts.overlay = fact(json, "overlay");
  if (auto labels = json.find("labels")) facts.labels = labels->string_map();
  if (facts.labels.size() > max_labels) throw Error("{}.labels: more than {}", json.path(), max_labels);
  for (const auto& [key, value] : facts.labels)
    if (key.size() > max_fact || value.size() > max_fact || printable(key) != key ||
        printable(value) != value)
      throw Error("{}.labels: longer than {} characters, or not printable", json.path(), max_fact);
  return facts;
}

Delta delta_since(const Membership& members, uint64_t from, size_t limit, uint64_t until) {
  until = std::min(until, members.version());
  Delta delta{.from = from, .to = until};
  // A version from the future is another history's (the head lost state): begin anew.
  if (from > until || from < std::max<uint64_t>(members.floor(), 1)) {
    delta.full = true;
    delta.from = 0;
  }
  uint64_t settings = members.cluster_version();
  if (delta.full || (settings > delta.from && settings <= until)) delta.cluster = members.cluster();
  std::vector<const Node*> newer;
  for (const auto& [id, node] : members.nodes()) {
    bool gone = node.status == NodeStatus::expired || node.status == NodeStatus::removed;
    if (node.version > delta.from && node.version <= until && !(delta.full && gone)) newer.push_back(&node);
  }
  auto older = [](const Node* a, const Node* b) { return a->version < b->version; };
  // Of thousands only the piece's own need an order.
  std::partial_sort(newer.begin(), newer.begin() + static_cast<std::ptrdiff_t>(std::min(limit, newer.size())),
                    newer.end(), older);
  if (newer.size() > limit) {
    delta.more = true;
    newer.resize(limit);
    delta.to = newer.back()->version;
  }
  for (const Node* node : newer) {
    delta.nodes.push_back(*node);
    // These change without a new version and concern the head alone.
    delta.nodes.back().last_seen = {};
    if (node->status == NodeStatus::suspect) delta.nodes.back().status = NodeStatus::joined;
  }
  return delta;
}

nlohmann::json to_json(const Delta& delta) {
  nlohmann::json nodes = nlohmann::json::array();
  for (const Node& node : delta.nodes) {
    // Thousands of these go to thousands of nodes: what is the default or follows from the slot stays out.
    nlohmann::json json = to_json(node);
    for (const char* key : {"subnet", "gateway", "address"}) json.erase(key);
    if (node.role == MemberRole::worker) json.erase("role");
    if (node.status == NodeStatus::joined) json.erase("status");
    nodes.push_back(std::move(json));
  }
  nlohmann::json json{{"from", delta.from}, {"to", delta.to}, {"nodes", std::move(nodes)}};
  if (delta.full) json["full"] = true;
  if (delta.more) json["more"] = true;
  if (delta.cluster) json["cluster"] = to_json(*delta.cluster);
  return json;
}

Delta parse_delta(const Json& json) {
  Delta delta{.from = json.at("from").size(), .to = json.at("to").size()};
  delta.full = json.boolean_or("full", false);
  delta.more = json.boolean_or("more", false);
  if (auto cluster = json.find("cluster")) delta.cluster = parse_cluster(*cluster);
  for (const Json& item : json.at("nodes").items()) delta.nodes.push_back(parse_node(item));
  return delta;
}

std::set<std::string> apply(ClusterView& view, const Delta& delta) {
  std::set<std::string> changed;
  if (delta.full) {
    for (const auto& [id, node] : view.nodes) changed.insert(id);
    view.nodes.clear();
  } else if (delta.from != view.version) {
    throw Error("a change from version {} doesn't fit version {}", delta.from, view.version);
  }
  if (delta.cluster) view.cluster = *delta.cluster;
  for (const Node& node : delta.nodes) {
    changed.insert(node.id);
    if (node.status == NodeStatus::expired || node.status == NodeStatus::removed) {
      view.nodes.erase(node.id);
      continue;
    }
    NodeAddresses addresses = node_addresses(view.cluster, node.slot);
    Node& known = view.nodes[node.id] = node;
    known.subnet = addresses.subnet;
    known.gateway = addresses.gateway;
    known.address = addresses.address;
  }
  view.version = delta.to;
  return changed;
}

}  // namespace rayctl::cluster
