#include "ray/deployment_keeper.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

namespace rayctl::ray {

namespace {

constexpr auto retry_interval = std::chrono::seconds(2);
// How long containers wait for workers that are missing, before others run theirs too.
constexpr auto patience = std::chrono::minutes(5);

std::string fresh_id() {
  return hex(random_bytes(6));
}

}  // namespace

struct DeploymentKeeper::State : std::enable_shared_from_this<DeploymentKeeper::State> {
  State(boost::asio::io_context& io, std::string file, Links with)
      : path(std::move(file)), links(std::move(with)), timer(io) {}

  void load() {
    auto text = read_file_if_exists(path);
    if (!text) return;
    Json json = Json::parse(*text, path);
    deployment = stitch::deployment_from_json(json.at("deployment").raw().dump(), path);
    assigned = parse_assigned_list(json.at("containers"));
  }

  // The file holds both: a crash between placing and telling places nothing twice.
  void save() const {
    if (!deployment) return remove_tree(path);
    nlohmann::ordered_json json;
    json["deployment"] = stitch::to_json(*deployment);
    json["containers"] = to_json(assigned);
    replace_file(path, json.dump(1), 0600);  // variables may be secrets
  }

  // Which nodes containers can be placed on: while that is as it was, so is the placement.
  static std::string nodes_in(const cluster::ClusterView& view) {
    std::string all;
    for (const auto& [id, node] : view.nodes) {
      if (!node.present()) continue;
      all += id + " " + node.name;
      for (const auto& [key, value] : node.labels) all += " " + key + "=" + value;
      all += "\n";
    }
    return all;
  }

  // At a start workers join one after the other: the first one isn't to run everything for good.
  uint32_t expected_workers(const cluster::ClusterView& view) {
    auto present = std::count_if(view.nodes.begin(), view.nodes.end(), [](const auto& entry) {
      return entry.second.present() && entry.second.role == cluster::MemberRole::worker;
    });
    auto now = std::chrono::steady_clock::now();
    if (present >= view.cluster.workers) return missing_since.reset(), 0;
    if (!missing_since) missing_since = now;
    return now - *missing_since < patience ? view.cluster.workers : 0;
  }

  // True when something is placed elsewhere now.
  bool replace() {
    const cluster::ClusterView& view = links.view();
    uint32_t workers = expected_workers(view);
    std::string nodes = nodes_in(view) + std::to_string(workers);
    if (std::exchange(placed_on, nodes) == nodes) return false;
    PlacedDeployment placed = place(*deployment, view, assigned, fresh_id, workers);
    for (const Waiting& waits : placed.waiting)
      if (std::find(waiting.begin(), waiting.end(), waits) == waiting.end())
        info("container '{}' waits: {}", waits.name, waits.why);
    waiting = std::move(placed.waiting);
    if (placed.assigned == assigned) return false;
    assigned = std::move(placed.assigned);
    return true;
  }

  std::optional<std::vector<Assigned>> list_of(const std::string& node) const {
    if (!deployment) return std::nullopt;
    std::vector<Assigned> list;
    for (const Assigned& one : assigned)
      if (one.node == node) list.push_back(one);
    return list;
  }

  // Every present node that may not have the newest list gets it.
  void tell_all() {
    if (!started || (!deployment && !ever)) return;
    for (const auto& [id, node] : links.view().nodes) {
      if (!node.present() || !links.reached(id)) continue;
      std::optional<std::vector<Assigned>> list = list_of(id);
      std::string text = list ? to_json(*list).dump() : "null";
      Told& told = told_[id];
      if (told.text == text || told.under_way) continue;
      told.under_way = true;
      links.tell(id, list, [self = shared_from_this(), id = id, text](bool took) {
        Told& told = self->told_[id];
        told.under_way = false;
        if (took) told.text = text;
      });
    }
  }

  void look() {
    try {
      if (deployment && replace()) save();
      tell_all();
    } catch (const Error& e) {
      if (last_failure != e.message()) warn("deployment: {}", e.message());
      last_failure = e.message();
    }
    timer.expires_after(retry_interval);
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->look();
    });
  }

  struct Told {
    std::string text = {};  // the list that it confirmed
    bool under_way = false;
  };

  std::string path;
  Links links;
  boost::asio::steady_timer timer;
  std::optional<stitch::Deployment> deployment;
  std::vector<Assigned> assigned;
  std::vector<Waiting> waiting;
  std::map<std::string, Told> told_;
  std::string last_failure, placed_on;
  std::optional<std::chrono::steady_clock::time_point> missing_since;
  bool started = false, ever = false;
};

DeploymentKeeper::DeploymentKeeper(boost::asio::io_context& io, const std::string& directory, Links links)
    : state_(std::make_shared<State>(io, join(directory, "deployment.json"), std::move(links))) {
  state_->load();
}

DeploymentKeeper::~DeploymentKeeper() {
  state_->timer.cancel();
}

void DeploymentKeeper::start() {
  state_->started = true;
  state_->links.changed(state_->deployment);
  state_->look();
}

void DeploymentKeeper::set(std::optional<stitch::Deployment> deployment) {
  State& s = *state_;
  s.ever = true;
  s.deployment = std::move(deployment);
  s.waiting.clear();
  s.placed_on.clear();
  if (s.deployment)
    s.replace();
  else
    s.assigned.clear();
  s.save();
  s.links.changed(s.deployment);
  s.tell_all();
}

void DeploymentKeeper::view_changed() {
  if (!state_->started) return;
  state_->timer.cancel();
  state_->look();
}

nlohmann::json DeploymentKeeper::describe() const {
  const cluster::ClusterView& view = state_->links.view();
  nlohmann::json answer = {
      {"deployment", nullptr}, {"containers", nlohmann::json::array()}, {"waiting", nlohmann::json::array()}};
  if (state_->deployment) answer["deployment"] = stitch::to_json(*state_->deployment);
  for (const Assigned& assigned : state_->assigned) {
    nlohmann::json item = to_json(assigned);
    if (auto node = view.nodes.find(assigned.node); node != view.nodes.end())
      item["node"] = node->second.name;
    answer["containers"].push_back(std::move(item));
  }
  for (const Waiting& waits : state_->waiting)
    answer["waiting"].push_back({{"name", waits.name}, {"why", waits.why}});
  return answer;
}

}  // namespace rayctl::ray
