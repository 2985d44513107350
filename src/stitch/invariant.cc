#include "stitch/invariant.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "stitch/graph.h"
#include "stitch/schedule.h"

namespace rayctl::stitch {

namespace {

class Checker {
 public:
  explicit Checker(const Deployment& deployment) : deployment_(deployment), graph_(deployment) {}

  void check(const Invariant& invariant) {
    if (invariant.form == "enough")
      check_enough(invariant);
    else if (invariant.form == "reach")
      check_reach(invariant, {});
    else if (invariant.form == "reachACL")
      check_reach(invariant, guards());
    else if (invariant.form == "reachDirect")
      check_direct(invariant);
    else
      check_between(invariant);
  }

 private:
  [[noreturn]] void violated(const Invariant& invariant, const std::string& why) {
    std::string words = invariant.form + (invariant.holds ? " true" : " false");
    for (const std::string& label : invariant.labels) words += fmt::format(" \"{}\"", label);
    throw Misfit(invariant.at, fmt::format("invariant doesn't hold: {}: {}", words, why));
  }

  std::vector<bool> marked(const std::string& label) {
    std::vector<bool> marks(graph_.size(), false);
    for (uint32_t node : graph_.members(label)) marks[node] = true;
    return marks;
  }

  std::vector<bool> guards() {
    std::vector<bool> marks(graph_.size(), false);
    for (const Label& label : deployment_.labels)
      if (std::find(label.annotations.begin(), label.annotations.end(), "ACL") != label.annotations.end())
        for (uint32_t node : graph_.members(label.name)) marks[node] = true;
    return marks;
  }

  std::string name(uint32_t node) {
    if (node == Graph::internet) return public_label;
    const Container& container = deployment_.containers[node - 1];
    std::vector<std::string> labels = labels_of(deployment_, container.id);
    return fmt::format("container {}{}", container.id,
                       labels.empty() ? "" : fmt::format(" of '{}'", labels.front()));
  }

  void check_reach(const Invariant& invariant, const std::vector<bool>& closed) {
    for (uint32_t from : graph_.representatives(invariant.labels[0])) {
      std::vector<bool> found = graph_.reached(from, closed, Graph::Ends::may_be_closed);
      for (uint32_t to : graph_.members(invariant.labels[1]))
        if (from != to && found[to] != invariant.holds)
          violated(invariant,
                   fmt::format("{} {} {}", name(from), found[to] ? "reaches" : "doesn't reach", name(to)));
    }
  }

  void check_direct(const Invariant& invariant) {
    for (uint32_t from : graph_.representatives(invariant.labels[0]))
      for (uint32_t to : graph_.representatives(invariant.labels[1]))
        if (bool found = graph_.connected(from, to); from != to && found != invariant.holds)
          violated(invariant,
                   fmt::format("{} {} connected to {}", name(from), found ? "is" : "isn't", name(to)));
  }

  void check_between(const Invariant& invariant) {
    std::vector<bool> between = marked(invariant.labels[2]);
    for (uint32_t from : graph_.representatives(invariant.labels[0])) {
      std::vector<bool> all = graph_.reached(from, {}, Graph::Ends::may_be_closed);
      std::vector<bool> around = graph_.reached(from, between, Graph::Ends::are_open);
      for (uint32_t to : graph_.representatives(invariant.labels[1])) {
        if (from == to) continue;
        if (!invariant.holds) {
          if (graph_.passes(from, to, between))
            violated(invariant, fmt::format("a path from {} to {} passes '{}'", name(from), name(to),
                                            invariant.labels[2]));
        } else if (!all[to]) {
          violated(invariant, fmt::format("{} doesn't reach {}", name(from), name(to)));
        } else if (!between[from] && !between[to] && around[to]) {
          violated(invariant, fmt::format("a path from {} to {} doesn't pass '{}'", name(from), name(to),
                                          invariant.labels[2]));
        }
      }
    }
  }

  void check_enough(const Invariant& invariant) {
    std::vector<Host> hosts;
    for (const Machine& machine : deployment_.machines)
      hosts.push_back({.name = std::to_string(machine.id),
                       .role = machine.role,
                       .provider = machine.provider,
                       .region = machine.region,
                       .size = machine.size});
    Schedule made = schedule(deployment_, hosts, {});
    if (made.unplaced.empty() != invariant.holds)
      violated(invariant, made.unplaced.empty()
                              ? "all containers have room"
                              : fmt::format("container {}: {}", made.unplaced.begin()->first,
                                            made.unplaced.begin()->second));
  }

  const Deployment& deployment_;
  Graph graph_;
};

}  // namespace

void check_invariants(const Deployment& deployment) {
  if (deployment.invariants.empty()) return;
  Checker checker(deployment);
  for (const Invariant& invariant : deployment.invariants) checker.check(invariant);
}

}  // namespace rayctl::stitch
