#include "cluster/cluster.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/error.h"
#include "base/text.h"
#include "net/address_plan.h"

namespace rayctl::cluster {

namespace {

int64_t seconds_of(WallTime time) {
  return time.time_since_epoch().count();
}
WallTime time_of(const Json& json, std::string_view key) {
  auto found = json.find(key);
  return WallTime(std::chrono::seconds(found ? found->integer() : 0));
}

template <class T>
T number(const Json& json, std::string_view key) {
  uint64_t value = json.at(key).size();
  if (value > std::numeric_limits<T>::max()) throw Error("{}.{}: {} is too large", json.path(), key, value);
  return static_cast<T>(value);
}

std::map<std::string, std::string> map_of(const Json& json, std::string_view key) {
  auto found = json.find(key);
  return found ? found->string_map() : std::map<std::string, std::string>{};
}

}  // namespace

std::string_view status_name(NodeStatus status) {
  switch (status) {
    case NodeStatus::joined:
      return "joined";
    case NodeStatus::suspect:
      return "suspect";
    case NodeStatus::down:
      return "down";
    case NodeStatus::expired:
      return "expired";
    case NodeStatus::removed:
      return "removed";
  }
  return "";
}

nlohmann::json to_json(const Policy& policy) {
  nlohmann::json connect = nlohmann::json::array();
  for (const net::Connect& c : policy.connect) {
    nlohmann::json one{{"from", c.from}, {"to", c.to}, {"first", c.first}, {"last", c.last}};
    if (c.protocol) one["protocol"] = *c.protocol == net::Protocol::tcp ? "tcp" : "udp";
    connect.push_back(std::move(one));
  }
  nlohmann::json json{{"labels", policy.labels}, {"connect", std::move(connect)}};
  if (policy.egress == net::Egress::declared) json["egress"] = "declared";
  if (!policy.metadata.empty()) json["metadata"] = policy.metadata;
  return json;
}

Policy parse_policy(const Json& json) {
  Policy policy;
  policy.labels = json.strings_or_empty("labels");
  auto known = [&](const Json& label) {
    std::string text = label.string();
    if (std::find(policy.labels.begin(), policy.labels.end(), text) == policy.labels.end())
      throw Error("{}: there is no label '{}'", label.path(), printable(text));
    return text;
  };
  for (const std::string& label : policy.labels)
    if (!valid_node_name(label) || label == net::public_label)
      throw Error("{}.labels: '{}' is no label: a-z, 0-9 and '-', not 'public'", json.path(),
                  printable(label));
  if (auto list = json.find("connect"))
    for (const Json& item : list->items()) {
      net::Connect c;
      bool from_public = item.at("from").string() == net::public_label,
           to_public = item.at("to").string() == net::public_label;
      c.from = from_public ? net::public_label : known(item.at("from"));
      c.to = to_public ? net::public_label : known(item.at("to"));
      if (from_public && to_public) throw Error("{}: one end must be a label", item.path());
      c.first = number<uint16_t>(item, "first");
      c.last = number<uint16_t>(item, "last");
      if (c.first == 0 || c.last < c.first)
        throw Error("{}: ports {}-{} are no range", item.path(), c.first, c.last);
      std::string protocol = item.string_or("protocol", "");
      if (protocol != "" && protocol != "tcp" && protocol != "udp")
        throw Error("{}.protocol: '{}' is neither tcp nor udp", item.path(), printable(protocol));
      if (!protocol.empty()) c.protocol = protocol == "tcp" ? net::Protocol::tcp : net::Protocol::udp;
      policy.connect.push_back(c);
    }
  std::string egress = json.string_or("egress", "open");
  if (egress != "open" && egress != "declared")
    throw Error("{}.egress: '{}' is neither open nor declared", json.path(), printable(egress));
  policy.egress = egress == "open" ? net::Egress::open : net::Egress::declared;
  if (auto list = json.find("metadata"))
    for (const Json& label : list->items()) policy.metadata.push_back(known(label));
  return policy;
}

nlohmann::json to_json(const Cluster& cluster) {
  nlohmann::json json{{"id", cluster.id},
                      {"prefix", cluster.prefix},
                      {"pool", cluster.pool},
                      {"node_prefix", cluster.node_prefix},
                      {"overlay", cluster.overlay},
                      {"image", cluster.image},
                      {"workers", cluster.workers},
                      {"created", seconds_of(cluster.created)},
                      {"settings", cluster.settings}};
  if (cluster.policy) json["policy"] = to_json(*cluster.policy);
  return json;
}

Cluster parse_cluster(const Json& json) {
  Cluster cluster;
  cluster.id = json.at("id").string();
  cluster.prefix = json.at("prefix").string();
  cluster.pool = json.at("pool").string();
  cluster.node_prefix = number<uint8_t>(json, "node_prefix");
  cluster.overlay = json.at("overlay").string();
  cluster.image = json.at("image").string();
  cluster.workers = number<uint32_t>(json, "workers");
  cluster.created = time_of(json, "created");
  cluster.settings = map_of(json, "settings");
  if (auto policy = json.find("policy")) cluster.policy = parse_policy(*policy);
  return cluster;
}

// A snapshot of thousands of nodes goes over every stream: what is empty is left out.
nlohmann::json to_json(const Node& node) {
  nlohmann::json json{{"id", node.id},
                      {"name", node.name},
                      {"role", role_name(node.role)},
                      {"index", node.index},
                      {"slot", node.slot},
                      {"subnet", node.subnet},
                      {"gateway", node.gateway},
                      {"address", node.address},
                      {"status", status_name(node.status)},
                      {"version", node.version},
                      {"joined", seconds_of(node.joined)}};
  auto put = [&](const char* key, const auto& value) {
    if (!value.empty()) json[key] = value;
  };
  put("underlay", node.underlay);
  put("vtep_mac", node.vtep_mac);
  put("public_key", node.public_key);
  put("overlay", node.overlay);
  put("seen", node.seen);
  put("names", node.names);
  put("ill", node.ill);
  put("labels", node.labels);
  if (seconds_of(node.last_seen) != 0) json["last_seen"] = seconds_of(node.last_seen);
  if (seconds_of(node.down_since) != 0) json["down_since"] = seconds_of(node.down_since);
  return json;
}

Node parse_node(const Json& json) {
  Node node;
  node.id = json.at("id").string();
  node.name = json.at("name").string();
  auto role = role_by_name(json.string_or("role", "worker"));
  if (!role || (*role != MemberRole::head && *role != MemberRole::worker))
    throw Error("{}.role: not a node's role", json.path());
  node.role = *role;
  node.index = number<uint32_t>(json, "index");
  node.slot = number<uint32_t>(json, "slot");
  node.subnet = json.string_or("subnet", "");
  node.gateway = json.string_or("gateway", "");
  node.address = json.string_or("address", "");
  std::string status = json.string_or("status", "joined");
  bool known = false;
  for (NodeStatus one :
       {NodeStatus::joined, NodeStatus::suspect, NodeStatus::down, NodeStatus::expired, NodeStatus::removed})
    if (status == status_name(one)) {
      node.status = one;
      known = true;
    }
  if (!known) throw Error("{}.status: '{}' is no status of a node", json.path(), status);
  node.version = json.at("version").size();
  node.joined = time_of(json, "joined");
  node.last_seen = time_of(json, "last_seen");
  node.down_since = time_of(json, "down_since");
  node.underlay = json.string_or("underlay", "");
  node.vtep_mac = json.string_or("vtep_mac", "");
  node.public_key = json.string_or("public_key", "");
  node.overlay = json.string_or("overlay", "");
  node.seen = json.string_or("seen", "");
  node.names = map_of(json, "names");
  for (std::string& name : json.strings_or_empty("ill")) node.ill.insert(std::move(name));
  node.labels = map_of(json, "labels");
  return node;
}

bool valid_node_name(std::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  if (name == "head" || name == "localhost") return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool valid_container_name(std::string_view name) {
  size_t dot = name.find('.');
  if (dot == std::string_view::npos) return valid_node_name(name);
  std::string_view digits = name.substr(0, dot);
  bool numbered = all_digits(digits) && digits.size() <= 9 && digits.front() != '0';
  return numbered && valid_node_name(name.substr(dot + 1));
}

NodeAddresses node_addresses(const Cluster& cluster, uint32_t slot) {
  net::AddressPlan plan{net::parse_subnet(cluster.pool), cluster.node_prefix};
  // Also of what came over a wire: it is calculated with.
  if (!plan.pool.base.is_v4() || plan.node_prefix > 30 || plan.node_prefix < plan.pool.length)
    throw Error("cannot divide pool '{}' into nodes of /{} each", cluster.pool, plan.node_prefix);
  net::Subnet subnet = net::node_subnet(plan, slot);
  return {net::to_string(subnet), net::to_string(net::gateway_address(subnet)),
          net::to_string(net::container_address(subnet, 0))};
}

nlohmann::json to_json(const ClusterView& view) {
  nlohmann::json nodes = nlohmann::json::array();
  for (const auto& [id, node] : view.nodes) nodes.push_back(to_json(node));
  return {{"cluster", to_json(view.cluster)},
          {"epoch", view.epoch},
          {"version", view.version},
          {"nodes", std::move(nodes)}};
}

ClusterView parse_view(const Json& json) {
  ClusterView view;
  view.cluster = parse_cluster(json.at("cluster"));
  view.epoch = json.at("epoch").size();
  view.version = json.at("version").size();
  for (const Json& item : json.at("nodes").items()) {
    Node node = parse_node(item);
    std::string id = node.id;
    view.nodes[std::move(id)] = std::move(node);
  }
  return view;
}

const std::string& reached_at(const Cluster& cluster, const Node& node, const std::string& planned) {
  return shares_host_network(cluster) ? node.underlay : planned;
}

std::map<std::string, std::vector<Member>> label_members(const ClusterView& view) {
  std::map<std::string, std::vector<Member>> labels;
  if (view.cluster.policy)
    for (const std::string& label : view.cluster.policy->labels) labels[label];
  for (const auto& [id, node] : view.nodes) {
    if (!node.present()) continue;
    for (const auto& [name, address] : node.names) {
      size_t dot = name.find('.');
      if (dot == std::string::npos || !valid_container_name(name)) continue;
      labels[name.substr(dot + 1)].push_back({static_cast<uint32_t>(std::stoul(name.substr(0, dot))),
                                              reached_at(view.cluster, node, address), id,
                                              !node.ill.contains(name)});
    }
  }
  for (auto& entry : labels)
    std::sort(entry.second.begin(), entry.second.end(),
              [](const Member& a, const Member& b) { return a.number < b.number; });
  return labels;
}

std::vector<Name> names(const ClusterView& view) {
  std::vector<Name> all;
  std::map<std::string, std::vector<Member>> labels = label_members(view);
  for (const auto& [id, node] : view.nodes) {
    if (!node.present()) continue;
    const std::string& own = reached_at(view.cluster, node, node.address);
    if (own.empty()) continue;  // without an overlay, one whose address isn't known yet
    // A label may be named like a node: the name is then where its container is.
    auto label = labels.find(node.name);
    if (label == labels.end() || label->second.empty()) all.push_back({node.name, own, id});
    if (node.role == MemberRole::head) all.push_back({"head", own, id});
    for (const auto& [name, address] : node.names)
      all.push_back({name, reached_at(view.cluster, node, address), id});
  }
  for (const auto& [label, members] : labels) {
    bool any = std::any_of(members.begin(), members.end(), [](const Member& m) { return m.healthy; });
    for (const Member& member : members)
      if (member.healthy || !any) all.push_back({label, member.address, member.node});
  }
  std::sort(all.begin(), all.end(), [](const Name& a, const Name& b) {
    return std::tie(a.name, a.address) < std::tie(b.name, b.address);
  });
  return all;
}

const Node* find_node(const ClusterView& view, std::string_view name_or_id_prefix) {
  const Node* by_prefix = nullptr;
  size_t matches = 0;
  if (name_or_id_prefix.empty()) return nullptr;
  for (const auto& [id, node] : view.nodes) {
    if (node.name == name_or_id_prefix || id == name_or_id_prefix) return &node;
    if (name_or_id_prefix == "head" && node.role == MemberRole::head) return &node;
    if (std::string_view(id).substr(0, name_or_id_prefix.size()) == name_or_id_prefix) {
      by_prefix = &node;
      ++matches;
    }
  }
  return matches == 1 ? by_prefix : nullptr;
}

}  // namespace rayctl::cluster
