#include "stitch/graph.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"

namespace rayctl::stitch {

Graph::Graph(const Deployment& deployment) {
  std::unordered_map<uint32_t, uint32_t> nodes;
  for (const Container& container : deployment.containers)
    nodes.emplace(container.id, static_cast<uint32_t>(nodes.size() + 1));
  labels_of_.resize(nodes.size() + 1);
  label_ids_[public_label] = 0;
  members_.push_back({internet});
  labels_of_[internet].push_back(0);
  for (const Label& label : deployment.labels) {
    auto id = static_cast<uint32_t>(members_.size());
    label_ids_.emplace(label.name, id);
    members_.emplace_back();
    for (uint32_t member : label.members)
      if (auto found = nodes.find(member); found != nodes.end()) {
        members_[id].push_back(found->second);
        labels_of_[found->second].push_back(id);
      }
  }
  out_.resize(members_.size());
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (const Connection& connection : deployment.connections) {
    auto from = label_ids_.find(connection.from), to = label_ids_.find(connection.to);
    if (from == label_ids_.end() || to == label_ids_.end()) continue;
    if (seen.emplace(from->second, to->second).second) out_[from->second].push_back(to->second);
  }
}

void Graph::charge(uint64_t work) {
  if (work > budget_) throw Error("cannot check the invariants: the connection graph is too large for them");
  budget_ -= work;
}

const std::vector<uint32_t>& Graph::members(const std::string& label) const {
  static const std::vector<uint32_t> none;
  auto found = label_ids_.find(label);
  return found == label_ids_.end() ? none : members_[found->second];
}

std::vector<uint32_t> Graph::representatives(const std::string& label) {
  std::map<std::vector<uint32_t>, int> seen;
  std::vector<uint32_t> chosen;
  for (uint32_t node : members(label)) {
    charge(labels_of_[node].size() + 1);
    if (++seen[labels_of_[node]] <= 2) chosen.push_back(node);
  }
  return chosen;
}

bool Graph::connected(uint32_t from, uint32_t to) {
  for (uint32_t label : labels_of_[from]) {
    charge(out_[label].size() + 1);
    for (uint32_t target : out_[label])
      for (uint32_t has : labels_of_[to]) {
        charge(1);
        if (has == target) return true;
      }
  }
  return false;
}

std::vector<bool> Graph::reached(uint32_t from, const std::vector<bool>& closed, Ends ends) {
  std::vector<bool> found(size(), false), expanded(members_.size(), false), entered(members_.size(), false);
  std::vector<uint32_t> next{from};
  charge(size() / 8 + 1);
  while (!next.empty()) {
    uint32_t node = next.back();
    next.pop_back();
    for (uint32_t label : labels_of_[node]) {
      charge(1);
      if (expanded[label]) continue;
      expanded[label] = true;
      for (uint32_t target : out_[label]) {
        charge(1);
        if (entered[target]) continue;
        entered[target] = true;
        charge(members_[target].size());
        for (uint32_t member : members_[target]) {
          if (member == node || found[member]) continue;
          bool shut = !closed.empty() && closed[member];
          if (shut && ends == Ends::are_open) continue;
          found[member] = true;
          if (!shut && member != internet) next.push_back(member);
        }
      }
    }
  }
  return found;
}

std::vector<uint32_t> Graph::successors(uint32_t node) {
  std::vector<uint32_t> found;
  for (uint32_t label : labels_of_[node])
    for (uint32_t target : out_[label]) {
      charge(members_[target].size() + 1);
      found.insert(found.end(), members_[target].begin(), members_[target].end());
    }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

bool Graph::search(uint32_t node, uint32_t to, const std::vector<bool>& through, bool passed,
                   std::vector<bool>& on_path) {
  passed = passed || through[node];
  if (node == to) return passed;
  // Deeper than this a path has no meaning to a reader, and the stack has an end.
  constexpr int deepest = 2000;
  if (std::count(on_path.begin(), on_path.end(), true) > deepest) charge(budget_ + 1);
  charge(size() / 8 + 1);
  on_path[node] = true;
  for (uint32_t successor : successors(node)) {
    if (on_path[successor] || (successor == internet && to != internet)) continue;
    if (search(successor, to, through, passed, on_path)) return true;
  }
  on_path[node] = false;
  return false;
}

bool Graph::passes(uint32_t from, uint32_t to, const std::vector<bool>& through) {
  if (from == to) return false;
  // A walk through one of them is needed first, and is quick to find.
  std::vector<bool> ahead = reached(from, {}, Ends::may_be_closed);
  if (!ahead[to]) return false;
  if (through[from] || through[to]) return true;
  bool walk = false;
  for (uint32_t node = 0; node < size() && !walk; ++node)
    walk = through[node] && node != internet && ahead[node] && reached(node, {}, Ends::may_be_closed)[to];
  if (!walk) return false;
  std::vector<bool> on_path(size(), false);
  return search(from, to, through, false, on_path);
}

}  // namespace rayctl::stitch
