// The connection graph of a deployment: who may open connections to whom.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "stitch/deployment.h"

namespace rayctl::stitch {

// Nodes are the containers and the internet (node 0). Edges are kept between labels, so that a label of 5,000
// containers that is connected to itself costs one edge. Questions charge a budget of work; when it is spent
// they throw: a hostile deployment can't keep us busy.
class Graph {
 public:
  static constexpr uint32_t internet = 0;

  explicit Graph(const Deployment& deployment);

  size_t size() const { return labels_of_.size(); }
  const std::vector<uint32_t>& members(const std::string& label) const;  // nodes; empty for an unknown label
  // Nodes that stand for the members of `label`: one for each set of labels that a member has (members that
  // share all labels reach the same nodes), and a second one of the same set where there is one.
  std::vector<uint32_t> representatives(const std::string& label);

  bool connected(uint32_t from, uint32_t to);  // by one edge
  // Which nodes paths from `from` lead to. They don't go through the internet, nor through nodes in `closed`;
  // a closed node itself may be an end when `ends` says so. Nothing is said of `from` itself.
  enum class Ends { may_be_closed, are_open };
  std::vector<bool> reached(uint32_t from, const std::vector<bool>& closed, Ends ends);
  // Is there a path without repeated nodes from `from` to `to` through a node of `through`?
  bool passes(uint32_t from, uint32_t to, const std::vector<bool>& through);

 private:
  void charge(uint64_t work);
  std::vector<uint32_t> successors(uint32_t node);
  bool search(uint32_t node, uint32_t to, const std::vector<bool>& through, bool passed,
              std::vector<bool>& on_path);

  std::unordered_map<std::string, uint32_t> label_ids_;
  std::vector<std::vector<uint32_t>> members_;    // label -> nodes
  std::vector<std::vector<uint32_t>> labels_of_;  // node -> labels
  std::vector<std::vector<uint32_t>> out_;        // label -> labels
  uint64_t budget_ = 200'000'000;
};

}  // namespace rayctl::stitch
