#include "cluster/membership.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "net/address.h"

namespace rayctl::cluster {

namespace {

bool address_in(const std::string& subnet, const std::string& address) {
  try {
    return net::contains(net::parse_subnet(subnet), net::parse_address(address));
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Now current_time() {
  return {std::chrono::steady_clock::now(), wall_now()};
}

Membership::Membership(const Cluster& cluster, const MembershipTimes& times)
    : cluster_(cluster), times_(times) {}

const Node* Membership::find(std::string_view id) const {
  auto it = nodes_.find(std::string(id));
  return it == nodes_.end() ? nullptr : &it->second;
}

void Membership::touch(Node& node) {
  node.version = ++version_;
  changed_.insert(node.id);
}

void Membership::set_status(Node& node, NodeStatus status, Now now) {
  bool was_visible = node.status == NodeStatus::joined || node.status == NodeStatus::suspect;
  if (status == NodeStatus::expired) release(node);
  if (status == NodeStatus::down) node.down_since = now.wall;
  if (status == NodeStatus::joined) node.down_since = {};
  // Peers keep a suspect's routes and names: to them nothing changed, and a busy network flaps without a
  // flood.
  bool told = !(was_visible && (status == NodeStatus::joined || status == NodeStatus::suspect));
  node.status = status;
  if (told)
    touch(node);
  else
    changed_.insert(node.id);
}

void Membership::hold(const Node& node) {
  if (node.status == NodeStatus::expired || node.status == NodeStatus::removed) return;
  names_[node.name] = node.id;
  for (const auto& [name, address] : node.names) names_[name] = node.id;
  slots_[node.slot] = node.id;
  indices_[node.role][node.index] = node.id;
}

// A journal tells of two nodes' exchange in any order: what another holds by now stays.
void Membership::release(const Node& node) {
  auto give_up = [&](auto& held, const auto& key) {
    auto it = held.find(key);
    if (it != held.end() && it->second == node.id) held.erase(it);
  };
  give_up(names_, node.name);
  for (const auto& [name, address] : node.names) give_up(names_, name);
  give_up(slots_, node.slot);
  give_up(indices_[node.role], node.index);
}

bool Membership::name_taken(std::string_view name, std::string_view but_id, std::string* owner) const {
  auto it = names_.find(std::string(name));
  if (it == names_.end() || it->second == but_id) return false;
  if (owner) *owner = it->second;
  return true;
}

// The name asked for, the one it has, or the default one with the lowest free index.
std::string Membership::choose_name(const NodeFacts& facts, const Node* had, uint32_t& index) const {
  std::string stem = cluster_.prefix + (facts.role == MemberRole::head ? "-ms-" : "-wk-");
  auto role = indices_.find(facts.role);
  std::map<uint32_t, Owner> none;
  const auto& held = role == indices_.end() ? none : role->second;
  auto owner_of = held.end();
  if (had) owner_of = held.find(had->index);
  bool keeps =
      had && had->status != NodeStatus::expired && (owner_of == held.end() || owner_of->second == facts.id);
  if (keeps) {
    index = had->index;
  } else {
    auto at = held.begin();
    for (index = 0;; ++index) {
      while (at != held.end() && at->first < index) ++at;
      bool used = at != held.end() && at->first == index && at->second != facts.id;
      if (used) continue;
      if (facts.name.empty() && name_taken(stem + std::to_string(index), facts.id, nullptr)) continue;
      break;
    }
  }
  if (facts.name.empty()) return keeps ? had->name : stem + std::to_string(index);
  if (!valid_node_name(facts.name))
    throw Error(
        "cannot name the node '{}': a name is one DNS label of a-z, 0-9 and '-', not 'head' or 'localhost'",
        printable(facts.name));
  std::string owner;
  if (name_taken(facts.name, facts.id, &owner)) {
    const Node& other = nodes_.at(owner);
    throw Error(
        "cannot name the node '{}': the name belongs to node {} ({}) (choose another with --name, or remove "
        "that "
        "one on the head: rayctl nodes rm {})",
        facts.name, owner, status_name(other.status), other.name);
  }
  return facts.name;
}

uint32_t Membership::free_slot() const {
  uint32_t slot = 0;
  for (auto at = slots_.begin(); at != slots_.end() && at->first == slot; ++at) ++slot;
  return slot;
}

const Node& Membership::arrive(const NodeFacts& facts, Now now) {
  auto it = nodes_.find(facts.id);
  const Node* had = it == nodes_.end() ? nullptr : &it->second;
  if (had && had->status == NodeStatus::removed)
    throw Error(
        "cannot join as node {}: it was removed from the cluster (rayctl node reset makes it a new node)",
        facts.id);
  if (had && had->role != facts.role)
    throw Error("cannot join as {}: node {} is a {}", role_name(facts.role), facts.id, role_name(had->role));
  if (facts.role == MemberRole::head)
    for (const auto& [id, node] : nodes_)
      if (node.role == MemberRole::head && id != facts.id && node.status != NodeStatus::removed)
        throw Error("cannot join as head: the cluster has a head, '{}'", node.name);
  Node next = had ? *had : Node{};
  bool fresh = !had || had->status == NodeStatus::expired;
  next.id = facts.id;
  next.role = facts.role;
  next.name = choose_name(facts, had, next.index);
  if (fresh) {
    next.slot = free_slot();
    NodeAddresses addresses = node_addresses(cluster_, next.slot);
    next.subnet = addresses.subnet;
    next.gateway = addresses.gateway;
    next.address = addresses.address;
    next.joined = now.wall;
    next.names.clear();
    next.ill.clear();
  }
  next.underlay = facts.underlay;
  next.vtep_mac = facts.vtep_mac;
  next.public_key = facts.public_key;
  next.overlay = facts.overlay;
  next.seen = facts.seen == facts.underlay ? "" : facts.seen;
  next.labels = facts.labels;
  next.last_seen = now.wall;
  bool differs = fresh || !had || had->name != next.name || had->underlay != next.underlay ||
                 had->vtep_mac != next.vtep_mac || had->public_key != next.public_key ||
                 had->overlay != next.overlay || had->seen != next.seen || had->labels != next.labels ||
                 had->index != next.index;
  bool was_present = had && had->present();
  if (had) release(*had);
  Node& node = nodes_[facts.id] = std::move(next);
  timing_[facts.id].heard = now.steady;
  if (!was_present || node.status != NodeStatus::joined) set_status(node, NodeStatus::joined, now);
  if (differs) touch(node);
  hold(node);
  return node;
}

void Membership::heard(std::string_view id, Now now) {
  auto it = nodes_.find(std::string(id));
  if (it == nodes_.end()) return;
  Node& node = it->second;
  if (node.status == NodeStatus::removed || node.status == NodeStatus::expired) return;
  timing_[node.id].heard = now.steady;
  node.last_seen = now.wall;
  if (node.status != NodeStatus::joined) set_status(node, NodeStatus::joined, now);
}

void Membership::vouch(std::string_view id, Now now) {
  auto it = timing_.find(id);
  if (it != timing_.end()) it->second.vouched = now.steady;
}

void Membership::set_names(std::string_view id, const std::map<std::string, std::string>& names,
                           const std::set<std::string>& ill) {
  auto it = nodes_.find(std::string(id));
  if (it == nodes_.end()) throw Error("cannot name containers of node '{}': no such node", id);
  Node& node = it->second;
  if (names.size() > 256)
    throw Error("cannot name {} containers of '{}': the limit is 256", names.size(), node.name);
  for (const auto& [name, address] : names) {
    if (!valid_container_name(name))
      throw Error("cannot name a container '{}': a name is one DNS label of a-z, 0-9 and '-', or N.LABEL",
                  printable(name));
    if (!address_in(node.subnet, address))
      throw Error("cannot name a container '{}': its address {} isn't in {}'s subnet {}", name,
                  printable(address), node.name, node.subnet);
    std::string owner;
    if (name == node.name) {
      if (address == node.address) continue;
      throw Error("cannot name a container '{}': that is its node's name", name);
    }
    if (name_taken(name, node.id, &owner))
      throw Error("cannot name a container '{}': the name belongs to '{}'", name, nodes_.at(owner).name);
  }
  if (node.names == names && node.ill == ill) return;
  release(node);
  node.names = names;
  node.ill = ill;
  hold(node);
  touch(node);
}

void Membership::remove(std::string_view id) {
  auto it = nodes_.find(std::string(id));
  if (it == nodes_.end() || it->second.status == NodeStatus::removed)
    throw Error("cannot remove node '{}': no such node", printable(id));
  if (it->second.role == MemberRole::head)
    throw Error("cannot remove node '{}': it is the head", it->second.name);
  release(it->second);
  it->second.status = NodeStatus::removed;
  it->second.names.clear();
  touch(it->second);
}

bool Membership::mass_failure(Now now) const {
  size_t present = 0, silent = 0;
  auto timing = timing_.begin();
  for (const auto& [id, node] : nodes_) {
    const Timing& times = (timing++)->second;
    if (node.role == MemberRole::head || !node.present()) continue;
    ++present;
    if (now.steady - times.heard >= times_.suspect_after) ++silent;
  }
  return silent >= 3 && static_cast<double>(silent) > times_.mass_share * static_cast<double>(present);
}

void Membership::tick(Now now) {
  // The guard holds for a limited time, counted anew once the mass of nodes is back.
  if (!mass_failure(now))
    frozen_since_.reset();
  else if (!frozen_since_)
    frozen_since_ = now.steady;
  bool frozen = frozen_since_ && now.steady - *frozen_since_ < times_.mass_limit;
  auto timed = timing_.begin();
  for (auto it = nodes_.begin(); it != nodes_.end();) {
    Node& node = it->second;
    bool forget = false;
    if (node.present() && node.role != MemberRole::head) {
      const Timing& timing = timed->second;
      auto silence = now.steady - timing.heard;
      bool vouched = now.steady - timing.vouched < times_.suspect_after;
      if (silence >= times_.down_after && !frozen && !vouched)
        set_status(node, NodeStatus::down, now);
      else if (silence >= times_.suspect_after && node.status == NodeStatus::joined)
        set_status(node, NodeStatus::suspect, now);
    } else if (node.status == NodeStatus::down && now.wall >= node.down_since + times_.expire_after) {
      set_status(node, NodeStatus::expired, now);
      node.names.clear();
    } else if (node.status == NodeStatus::expired || node.status == NodeStatus::removed) {
      forget = now.wall >= std::max(node.last_seen, node.down_since) + times_.forget_after;
    }
    if (forget) {
      floor_ = std::max(floor_, node.version);
      changed_.insert(it->first);
      timed = timing_.erase(timed);
      it = nodes_.erase(it);
    } else {
      ++it;
      ++timed;
    }
  }
}

void Membership::excuse(Now now) {
  for (auto& [id, timing] : timing_) timing.heard = now.steady;
}

std::set<std::string> Membership::take_changed() {
  return std::exchange(changed_, {});
}

void Membership::set_cluster(Cluster cluster) {
  cluster_ = std::move(cluster);
  cluster_version_ = ++version_;
}

void Membership::restore(Node node, Now now) {
  std::string id = node.id;
  version_ = std::max(version_, node.version);
  // A suspicion from before the restart says nothing: everyone has the full time to come back.
  if (node.status == NodeStatus::suspect) node.status = NodeStatus::joined;
  timing_[id].heard = now.steady;
  Node& known = nodes_[std::move(id)];
  release(known);
  known = std::move(node);
  hold(known);
}

void Membership::forget(const std::string& id) {
  if (auto it = nodes_.find(id); it != nodes_.end()) release(it->second);
  nodes_.erase(id);
  timing_.erase(id);
}

void Membership::restore_version(uint64_t version, uint64_t cluster_version, uint64_t floor) {
  version_ = std::max(version_, version);
  cluster_version_ = std::max(cluster_version_, cluster_version);
  floor_ = std::max(floor_, floor);
}

}  // namespace rayctl::cluster
