#include "ray/unit_set.h"

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/cluster_state.h"
#include "net/address_plan.h"
#include "ray/host_facts.h"
#include "ray/unit_adopt.h"
#include "ray/unit_place.h"

namespace rayctl::ray {

namespace {

std::string assignment_path(const Paths& paths) {
  return join(cluster::cluster_directory(paths), "assignment.json");
}

// Of several units the one that says most of what is wrong, or what is missing still, is the first of these.
constexpr std::array worst_first = {Stage::failed,   Stage::unhealthy,    Stage::joining, Stage::pulling,
                                    Stage::creating, Stage::starting_ray, Stage::stopped, Stage::healthy};

constexpr std::chrono::seconds look_at_host_pause{5};

auto rank(const NodeReport* unit) {
  return std::find(worst_first.begin(), worst_first.end(), unit->stage);
}

bool serves(const NodeReport& unit) {
  return unit.container && unit.container->state == ContainerState::running && unit.container->healthy;
}

}  // namespace

Assignment load_assignment(const Paths& paths) {
  std::string path = assignment_path(paths);
  auto text = read_file_if_exists(path);
  if (!text) return std::nullopt;
  try {
    return parse_assigned_list(Json::parse(*text, path).at("containers"));
  } catch (const Error& e) {
    warn("{}; waiting for the head to say what this node runs", e.message());
    return std::vector<Assigned>{};
  }
}

void save_assignment(const Paths& paths, const Assignment& assignment) {
  std::string path = assignment_path(paths);
  if (!assignment) return remove_tree(path);
  nlohmann::json json = {{"containers", to_json(*assignment)}};
  replace_file(path, json.dump(1), 0600);  // variables may be secrets
}

NodeReport merged_report(const NodeReport& outside, const std::vector<const NodeReport*>& units) {
  NodeReport merged = outside;
  auto by_rank = [](const NodeReport* a, const NodeReport* b) { return rank(a) < rank(b); };
  if (auto worst = std::min_element(units.begin(), units.end(), by_rank); worst != units.end()) {
    const NodeReport& unit = **worst;
    merged.stage = unit.stage;
    merged.since = unit.since;
    merged.detail = unit.detail;
    merged.error = unit.error;
    merged.log_tail = unit.log_tail;
    for (size_t i = 1; i < unit.boot.size() && merged.boot.size() < max_boot_stages; ++i)
      merged.boot.push_back(unit.boot[i]);
  }
  merged.container.reset();
  merged.others.clear();
  for (const NodeReport* unit : units) {
    if (!unit->container) continue;
    if (!merged.container)
      merged.container = unit->container;
    else
      merged.others.push_back(*unit->container);
  }
  return merged;
}

UnitSet::UnitSet(Host host) : host_(std::move(host)) {
  outside_ = fresh_report(host_.config.resources);
  report_ = outside_;
}

UnitSet::~UnitSet() {
  *alive_ = false;
}

void UnitSet::begin(const cluster::ClusterView& view, const cluster::Node& self,
                    const std::string& ray_token) {
  begun_ = true;
  view_ = view;
  self_ = self;
  ray_token_ = ray_token;
  if (!assignment_) assignment_ = load_assignment(host_.paths);
  std::set<std::string> ids;
  for (const auto& [id, assigned] : wanted()) ids.insert(id);
  // Nothing is made before what doesn't belong here is gone: it may hold an address.
  clearing_ = true;
  host_.jobs.run<std::vector<std::string>>(
      [paths = host_.paths, ids, grace = std::chrono::milliseconds(host_.config.stop_grace)] {
        return clear_others(paths, ids, grace);
      },
      [this, alive = alive_](std::optional<std::vector<std::string>>, const std::string& error) {
        if (!*alive) return;
        if (!error.empty()) warn("{}", error);
        clearing_ = false;
        apply();
      });
}

void UnitSet::view_changed(const cluster::ClusterView& view) {
  view_ = view;
  for (auto& [id, unit] : units_) unit.unit->view_changed(view);
  // Its own Ray has another image: it ends, and apply() makes it anew.
  auto own = units_.find("");
  if (own == units_.end() || own->second.image == own_image(host_.config, view, self_)) return;
  retire("");
  tell();
}

void UnitSet::assign(const Assignment& assignment) {
  if (assignment == assignment_ && begun_) return;
  save_assignment(host_.paths, assignment);
  assignment_ = assignment;
  if (begun_ && !clearing_) apply();
}

std::map<std::string, std::optional<Assigned>> UnitSet::wanted() const {
  if (!assignment_) return {{"", std::nullopt}};
  std::map<std::string, std::optional<Assigned>> wanted;
  for (const Assigned& assigned : *assignment_) wanted.emplace(assigned.id, assigned);
  return wanted;
}

// The units that there are become those that there should be. One that takes an address or a name waits until
// its predecessor is gone: apply() is called again then.
void UnitSet::apply() {
  std::map<std::string, std::optional<Assigned>> wanted = this->wanted();
  std::vector<std::string> surplus;
  std::set<uint32_t> places;
  for (const auto& [id, unit] : units_) {
    auto found = wanted.find(id);
    bool moved = found != wanted.end() && unit.assigned && found->second->place != unit.assigned->place;
    if (found == wanted.end() || moved || unit.retiring) {
      surplus.push_back(id);
      places.insert(unit.assigned ? unit.assigned->place : 0);
    }
  }
  for (const std::string& id : surplus) retire(id);
  for (const auto& [id, assigned] : wanted) {
    uint32_t place = assigned ? assigned->place : 0;
    if (auto there = units_.find(id); there != units_.end()) {
      if (!there->second.retiring) there->second.assigned = assigned;  // its labels may have changed
      continue;
    }
    if (!places.count(place)) add(id, assigned);
  }
  tell();
}

void UnitSet::add(const std::string& id, const std::optional<Assigned>& assigned) {
  UnitHost host{host_.io,
                host_.jobs,
                host_.net,
                gate_,
                host_.paths,
                host_.config,
                host_.sealed_binary,
                host_.images,
                [this, alive = alive_](const NodeReport&) {
                  if (*alive) tell();
                },
                assigned};
  if (self_.role == cluster::MemberRole::head) host.on_head_start = host_.on_head_start;
  Unit& unit = units_[id];
  unit.assigned = assigned;
  if (!assigned) unit.image = own_image(host_.config, view_, self_);
  unit.unit = std::make_unique<RayUnit>(std::move(host));
  unit.unit->begin(view_, self_, ray_token_);
}

void UnitSet::retire(const std::string& id) {
  Unit& unit = units_.at(id);
  if (std::exchange(unit.retiring, true)) return;
  info("container '{}' is to end", unit.assigned ? unit.assigned->name : "ray");
  unit.unit->retire([this, alive = alive_, id](const std::string& error) {
    if (!error.empty()) warn("{}", error);
    boost::asio::post(host_.io, [this, alive, id] {  // not while the unit is at work
      if (!*alive) return;
      units_.erase(id);
      apply();
    });
  });
}

void UnitSet::tell() {
  // At the first boot they may be made only now; there may never be any.
  auto now = std::chrono::steady_clock::now();
  if (outside_.ssh_host_keys.empty() && now >= next_look_at_host_) {
    next_look_at_host_ = now + look_at_host_pause;
    HostFacts facts = host_facts();
    outside_.ssh_host_keys = std::move(facts.host_keys);
    outside_.login = std::move(facts.user);
    outside_.instance = std::move(facts.instance);
  }
  if (!begun_) {
    report_ = outside_;
    return host_.on_report(report_);
  }
  std::vector<const NodeReport*> reports;
  for (const auto& [id, unit] : units_)
    if (unit.unit && !unit.retiring) reports.push_back(&unit.unit->report());
  NodeReport none = outside_;
  none.stage = Stage::healthy;
  none.detail = "nothing is placed here";
  report_ = merged_report(units_.empty() && !clearing_ ? none : outside_, reports);
  host_.on_report(report_);
  tell_names();
}

void UnitSet::tell_names() {
  if (clearing_) return;  // what runs isn't known yet
  cluster::ContainerNames names;
  for (const Assigned& assigned : assignment_.value_or(std::vector<Assigned>{})) {
    auto unit = units_.find(assigned.id);
    bool well = unit != units_.end() && !unit->second.retiring && serves(unit->second.unit->report());
    for (const std::string& member : assigned.members) {
      names.addresses[member] =
          net::to_string(net::container_address(net::parse_subnet(self_.subnet), assigned.place));
      if (!well) names.ill.insert(member);
    }
  }
  if (names == names_) return;
  names_ = names;
  host_.on_names(names);
}

void UnitSet::set_stage(Stage stage, const std::string& detail, const std::string& error) {
  note_stage(outside_, stage);
  outside_.detail = detail;
  outside_.error = error;
  if (units_.empty()) return tell();
  for (auto& [id, unit] : units_) unit.unit->set_stage(stage, detail, error);
}

void UnitSet::image_came() {
  for (auto& [id, unit] : units_) unit.unit->image_came();
}

void UnitSet::note(const std::string& error) {
  for (auto& [id, unit] : units_)
    unit.unit->set_stage(unit.unit->report().stage, unit.unit->report().detail, error);
}

RayUnit& UnitSet::of_container(const std::string& id) {
  for (auto& [unit_id, unit] : units_)
    if (const auto& container = unit.unit->report().container; container && container->id == id)
      return *unit.unit;
  throw Error("cannot find container '{}': this node doesn't run it any more", id.substr(0, 12));
}

}  // namespace rayctl::ray
