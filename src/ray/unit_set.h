// All containers of a node: its own Ray, or those that the head assigned from a deployment.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/cluster.h"
#include "ray/placement.h"
#include "ray/ray_unit.h"

namespace rayctl::ray {

// What a node is to run; empty: its own Ray.
using Assignment = std::optional<std::vector<Assigned>>;

// state_dir/cluster/assignment.json: what the node goes on with when the head can't be reached.
Assignment load_assignment(const Paths& paths);
void save_assignment(const Paths& paths, const Assignment& assignment);

// One report of several: the worst stage, with its words, and every container.
NodeReport merged_report(const NodeReport& outside, const std::vector<const NodeReport*>& units);

class UnitSet {
 public:
  struct Host {
    boost::asio::io_context& io;
    Jobs& jobs;
    NodeNet& net;
    Paths paths;
    NodeConfig config;
    std::string sealed_binary;
    std::shared_ptr<ImageAccess> images;
    std::function<void(const NodeReport&)> on_report;
    std::function<void(const std::string& start)> on_head_start;
    std::function<void(const cluster::ContainerNames& names)> on_names;  // they, or their health, changed
  };
  explicit UnitSet(Host host);
  ~UnitSet();  // the containers go on

  // The node has its place: takes over what runs there already, ends what it isn't to run, and makes the
  // rest.
  void begin(const cluster::ClusterView& view, const cluster::Node& self, const std::string& ray_token);
  bool begun() const { return begun_; }
  void view_changed(const cluster::ClusterView& view);
  // Kept on disk before anything is done. What is assigned already under the same id is left alone.
  void assign(const Assignment& assignment);

  void set_stage(Stage stage, const std::string& detail, const std::string& error);
  void image_came();                    // an operator brought one
  void note(const std::string& error);  // shown with every unit; their stages stay
  const NodeReport& report() const { return report_; }
  // The unit whose container has this id; an Error when there is none.
  RayUnit& of_container(const std::string& id);

 private:
  struct Unit {
    std::unique_ptr<RayUnit> unit;
    std::optional<Assigned> assigned;
    std::string image;  // of this node's own Ray
    bool retiring = false;
  };

  std::map<std::string, std::optional<Assigned>> wanted() const;  // by UnitRecord::unit
  void apply();
  void add(const std::string& id, const std::optional<Assigned>& assigned);
  void retire(const std::string& id);
  void tell();
  void tell_names();

  Host host_;
  PullGate gate_;
  cluster::ClusterView view_;
  cluster::Node self_;
  std::string ray_token_;
  Assignment assignment_;
  std::map<std::string, Unit> units_;  // by UnitRecord::unit
  std::chrono::steady_clock::time_point next_look_at_host_ = {};
  NodeReport outside_, report_;                   // outside: what lies before any container
  std::optional<cluster::ContainerNames> names_;  // as told; empty: nothing yet
  bool begun_ = false, clearing_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace rayctl::ray
