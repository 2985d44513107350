#include "ray/unit_place.h"

#include "base/error.h"
#include "base/text.h"
#include "net/address_plan.h"

namespace rayctl::ray {

namespace {

std::optional<cluster::MemberRole> ray_role(const std::vector<std::string>& command) {
  if (command == std::vector<std::string>{"run", "head"}) return cluster::MemberRole::head;
  if (command == std::vector<std::string>{"run", "worker"}) return cluster::MemberRole::worker;
  return std::nullopt;
}

std::vector<std::string> names_in(const std::string& list) {
  std::vector<std::string> names;
  for (const std::string& name : split(list, ','))
    if (!trim(name).empty()) names.emplace_back(trim(name));
  return names;
}

// The variables of a spec are what 2016's `run` read: they say who the head and the workers are.
void take_variables(RayNode& ray, const std::map<std::string, std::string>& env) {
  for (const auto& [key, value] : env) {
    if (key == "HEADHOST") {
      if (std::vector<std::string> names = names_in(value); !names.empty()) ray.head_name = names.front();
    } else if (key == "WORKERHOST") {
      ray.worker_names = names_in(value);
    } else if (key == "JOB") {
      ray.job = value;
    } else {
      ray.env.push_back(key + "=" + value);
    }
  }
}

}  // namespace

std::string own_image(const NodeConfig& config, const cluster::ClusterView& view, const cluster::Node& self) {
  bool own = self.role == cluster::MemberRole::worker && !config.image.empty();
  return own ? config.image : view.cluster.image;
}

UnitPlace unit_place(const NodeConfig& config, const cluster::ClusterView& view, const cluster::Node& self,
                     const std::optional<Assigned>& assigned) {
  UnitPlace place;
  place.config = config;
  place.node_name = self.name;
  place.image = own_image(config, view, self);
  place.cgroup = "/rayctl/" + self.id.substr(0, 12);
  RayNode& ray = place.ray;
  ray.role = self.role;
  ray.address = cluster::reached_at(view.cluster, self, self.address);
  place.shares_network = cluster::shares_host_network(view.cluster);
  ray.head_name = view.cluster.prefix + "-ms-0.q";
  for (const auto& [id, node] : view.nodes)
    if (node.role == cluster::MemberRole::head) ray.head_name = node.name + ".q";
  for (uint32_t i = 0; i < view.cluster.workers; ++i)
    ray.worker_names.push_back(fmt::format("{}-wk-{}.q", view.cluster.prefix, i));
  ray.job = config.job;
  ray.stop_grace = config.stop_grace;
  ray.resources = config.resources;
  ray.env = config.env;
  if (!assigned) {
    place.key = unit_key(config, ray, place.image);
    return place;
  }
  place.unit = assigned->id;
  place.name = assigned->name;
  place.image = assigned->image;
  ray.address = cluster::reached_at(
      view.cluster, self,
      net::to_string(net::container_address(net::parse_subnet(self.subnet), assigned->place)));
  if (std::optional<cluster::MemberRole> role = ray_role(assigned->command)) {
    ray.role = *role;
    ray.worker_names.clear();
    ray.job.clear();
    take_variables(ray, assigned->env);
    place.key = unit_key(config, ray, place.image);
    return place;
  }
  place.plain.emplace().command = assigned->command;
  for (const auto& [key, value] : assigned->env) place.plain->env.push_back(key + "=" + value);
  place.key = plain_key(ray, *place.plain, place.image);
  return place;
}

}  // namespace rayctl::ray
