#include "ray/placement.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "base/error.h"
#include "net/address_plan.h"
#include "stitch/schedule.h"

namespace rayctl::ray {

namespace {

// What a container is made from: another one of these replaces it.
using Making = std::tuple<std::string, std::vector<std::string>, std::map<std::string, std::string>>;

// The list of workers is read when Ray starts; a head that runs is not ended because there is one more.
Making making_of(const stitch::Container& container) {
  std::map<std::string, std::string> env = container.env;
  if (stitch::runs_head(container)) env.erase("WORKERHOST");
  return {container.image, container.command, std::move(env)};
}
Making making_of(const Assigned& assigned) {
  return making_of(
      stitch::Container{.image = assigned.image, .command = assigned.command, .env = assigned.env});
}

// A label as a host name, which has no capitals; empty when it can't be one.
std::string host_label(std::string label) {
  for (char& c : label)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return cluster::valid_node_name(label) ? label : "";
}

struct Memberships {
  std::map<uint32_t, std::vector<std::string>> members;  // container -> "N.LABEL"
  std::map<uint32_t, std::vector<std::string>> labels;   // container -> names of labels
};

Memberships memberships(const stitch::Deployment& deployment) {
  Memberships all;
  for (const stitch::Label& label : deployment.labels)
    for (size_t i = 0; i < label.members.size(); ++i) {
      // A label that is no host name has members, but no name for them.
      if (std::string name = host_label(label.name); !name.empty())
        all.members[label.members[i]].push_back(fmt::format("{}.{}", i + 1, name));
      all.labels[label.members[i]].push_back(label.name);
    }
  return all;
}

std::vector<stitch::Host> hosts_of(const cluster::ClusterView& view) {
  std::vector<stitch::Host> hosts;
  for (const auto& [id, node] : view.nodes) {
    if (!node.present()) continue;
    auto label = [&](const char* key) {
      auto found = node.labels.find(key);
      return found == node.labels.end() ? std::string() : found->second;
    };
    bool head = node.role == cluster::MemberRole::head;
    hosts.push_back({.name = node.name,
                     .role = head ? stitch::master_role : stitch::worker_role,
                     .provider = label("provider"),
                     .region = label("region"),
                     .size = label("size")});
  }
  return hosts;
}

class Placer {
 public:
  Placer(const stitch::Deployment& deployment, const cluster::ClusterView& view,
         const std::vector<Assigned>& before)
      : deployment_(deployment), memberships_(memberships(deployment)) {
    for (const auto& [id, node] : view.nodes)
      if (node.present()) nodes_.emplace(node.name, &node);
    for (const Assigned& assigned : before) {
      auto node = view.nodes.find(assigned.node);
      known_.push_back({&assigned, node == view.nodes.end() ? nullptr : &node->second});
    }
  }

  PlacedDeployment run(const cluster::ClusterView& view, const std::function<std::string()>& make_id,
                       uint32_t workers) {
    match();
    std::vector<stitch::Host> hosts = hosts_of(view);
    auto is_worker = [](const stitch::Host& host) { return host.role == stitch::worker_role; };
    for (auto n = std::count_if(hosts.begin(), hosts.end(), is_worker); n < workers; ++n)
      hosts.push_back({.name = fmt::format("(missing {})", n), .role = stitch::worker_role});
    stitch::Schedule made = stitch::schedule(deployment_, hosts, wanted_places());
    PlacedDeployment placed;
    reserve(made);
    for (const stitch::Container& container : deployment_.containers) {
      auto host = made.assigned.find(container.id);
      if (host == made.assigned.end()) {
        placed.waiting.push_back({name_of(container.id), made.unplaced.at(container.id)});
        continue;
      }
      auto there = nodes_.find(host->second);
      if (there == nodes_.end()) {
        placed.waiting.push_back({name_of(container.id), "a worker is still to join"});
        continue;
      }
      const cluster::Node& node = *there->second;
      const Assigned* was = was_[container.id];
      std::optional<uint32_t> place = place_on(node, was);
      if (!place) {
        placed.waiting.push_back({name_of(container.id), fmt::format("{} has no address left", node.name)});
        continue;
      }
      // One that moves is another container: its old one may still be ending.
      bool stays = was && was->node == node.id;
      placed.assigned.push_back({.id = stays ? was->id : make_id(),
                                 .name = name_of(container.id),
                                 .image = container.image,
                                 .command = container.command,
                                 .env = container.env,
                                 .node = node.id,
                                 .place = *place,
                                 .members = memberships_.members[container.id]});
    }
    return placed;
  }

 private:
  struct Known {
    const Assigned* assigned;
    const cluster::Node* node;  // null: it is gone
    bool used = false;
  };

  // Which of those that run each container of the deployment is: first those with the same labels, then any.
  void match() {
    std::multimap<Making, Known*> by_making;
    for (Known& known : known_) by_making.emplace(making_of(*known.assigned), &known);
    for (bool same_labels : {true, false})
      for (const stitch::Container& container : deployment_.containers) {
        if (was_[container.id]) continue;
        auto [from, to] = by_making.equal_range(making_of(container));
        for (; from != to; ++from) {
          Known& known = *from->second;
          if (known.used || (same_labels && known.assigned->members != memberships_.members[container.id]))
            continue;
          known.used = true;
          was_[container.id] = known.assigned;
          if (known.node && known.node->present()) at_[container.id] = known.node->name;
          break;
        }
      }
  }

  // Where each should be if the rules allow it: where it is; else on the node of its label's name, if there
  // is one.
  std::map<uint32_t, std::string> wanted_places() {
    std::map<uint32_t, std::string> places = at_;
    std::set<std::string> taken;
    for (const auto& [container, node] : at_) taken.insert(node);
    for (const stitch::Container& container : deployment_.containers) {
      if (at_.count(container.id)) continue;
      for (const std::string& label : memberships_.labels[container.id]) {
        auto node = nodes_.find(label);
        if (node == nodes_.end() || taken.count(label)) continue;
        bool head = node->second->role == cluster::MemberRole::head;
        if (head != stitch::runs_head(container)) continue;
        places[container.id] = label;
        taken.insert(label);
        break;
      }
    }
    return places;
  }

  // Addresses of containers that stay, so that a fresh one doesn't take them.
  void reserve(const stitch::Schedule& made) {
    for (const auto& [container, host] : made.assigned)
      if (const Assigned* was = was_[container]; was && at_.count(container) && at_[container] == host)
        used_[was->node].insert(was->place);
    // The address of one that has to end is free only once it ended: it is used again last.
    for (const Known& known : known_)
      if (known.node) ending_[known.node->id].insert(known.assigned->place);
  }

  std::optional<uint32_t> place_on(const cluster::Node& node, const Assigned* was) {
    if (was && was->node == node.id) return was->place;
    std::set<uint32_t>& used = used_[node.id];
    uint32_t limit = net::container_limit(net::parse_subnet(node.subnet));
    for (bool also_ending : {false, true})
      for (uint32_t place = 0; place < limit; ++place)
        if (!used.count(place) && (also_ending || !ending_[node.id].count(place))) {
          used.insert(place);
          return place;
        }
    return std::nullopt;
  }

  std::string name_of(uint32_t container) {
    const auto& labels = memberships_.labels[container];
    if (labels.empty()) return fmt::format("c{}", container);
    const stitch::Label* label = stitch::find_label(deployment_, labels.front());
    if (label->members.size() == 1) return label->name;
    size_t number = 1;
    while (label->members[number - 1] != container) ++number;
    return fmt::format("{}.{}", number, label->name);
  }

  const stitch::Deployment& deployment_;
  Memberships memberships_;
  std::map<std::string, const cluster::Node*> nodes_;  // present ones, by name
  std::vector<Known> known_;
  std::map<uint32_t, const Assigned*> was_;
  std::map<uint32_t, std::string> at_;
  std::map<std::string, std::set<uint32_t>> used_, ending_;  // node id -> places
};

}  // namespace

PlacedDeployment place(const stitch::Deployment& deployment, const cluster::ClusterView& view,
                       const std::vector<Assigned>& before, const std::function<std::string()>& make_id,
                       uint32_t workers) {
  return Placer(deployment, view, before).run(view, make_id, workers);
}

cluster::Policy policy_of(const stitch::Deployment& deployment) {
  cluster::Policy policy;
  std::set<std::string> known;
  for (const stitch::Label& label : deployment.labels)
    if (std::string name = host_label(label.name); !name.empty() && known.insert(name).second)
      policy.labels.push_back(name);
  for (const stitch::Connection& connection : deployment.connections) {
    auto end = [](const std::string& label) {
      return label == stitch::public_label ? label : host_label(label);
    };
    net::Connect connect{.from = end(connection.from),
                         .to = end(connection.to),
                         .first = std::max<uint16_t>(connection.min_port, 1),
                         .last = connection.max_port};
    if (!connect.from.empty() && !connect.to.empty() && connect.last >= connect.first)
      policy.connect.push_back(std::move(connect));
  }
  policy.egress = deployment.egress == stitch::Egress::open ? net::Egress::open : net::Egress::declared;
  for (const std::string& label : deployment.metadata_access)
    if (std::string name = host_label(label); !name.empty()) policy.metadata.push_back(std::move(name));
  return policy;
}

nlohmann::json to_json(const Assigned& a) {
  return {{"id", a.id},   {"name", a.name}, {"image", a.image}, {"command", a.command},
          {"env", a.env}, {"node", a.node}, {"place", a.place}, {"members", a.members}};
}

Assigned parse_assigned(const Json& json) {
  Assigned a;
  a.id = json.at("id").string();
  bool plain = a.id.size() >= 8 && a.id.size() <= 64 && std::all_of(a.id.begin(), a.id.end(), [](char c) {
                 return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
               });
  if (!plain) throw Error("{}.id: it must be 8 to 64 hex digits", json.path());
  a.name = json.at("name").string();
  a.image = json.at("image").string();
  a.command = json.strings_or_empty("command");
  if (auto env = json.find("env")) a.env = env->string_map();
  a.node = json.at("node").string();
  uint64_t place = json.at("place").size();
  if (place > UINT16_MAX) throw Error("{}.place: {} is too large", json.path(), place);
  a.place = static_cast<uint32_t>(place);
  a.members = json.strings_or_empty("members");
  return a;
}

nlohmann::json to_json(const std::vector<Assigned>& all) {
  nlohmann::json list = nlohmann::json::array();
  for (const Assigned& assigned : all) list.push_back(to_json(assigned));
  return list;
}

std::vector<Assigned> parse_assigned_list(const Json& json) {
  std::vector<Assigned> all;
  std::set<std::string> ids;
  for (const Json& item : json.items()) {
    all.push_back(parse_assigned(item));
    if (!ids.insert(all.back().id).second)
      throw Error("{}: id '{}' appears twice", item.path(), all.back().id);
  }
  return all;
}

}  // namespace rayctl::ray
