#include "ray/node_requests.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "ray/dial.h"
#include "ray/start.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

constexpr auto wait_interval = std::chrono::milliseconds(200);

// The head first, then workers by number.
std::vector<const cluster::Node*> in_order(const cluster::ClusterView& view) {
  std::vector<const cluster::Node*> nodes;
  for (const auto& [id, node] : view.nodes) nodes.push_back(&node);
  std::sort(nodes.begin(), nodes.end(), [](const cluster::Node* a, const cluster::Node* b) {
    return std::tuple(a->role != cluster::MemberRole::head, a->index, a->name) <
           std::tuple(b->role != cluster::MemberRole::head, b->index, b->name);
  });
  return nodes;
}

bool is_encrypted(const cluster::Cluster& cluster) {
  return cluster.overlay != "vxlan" && !cluster::shares_host_network(cluster);
}

std::vector<PlacedContainer> all_containers(const RequestContext& context) {
  std::vector<PlacedContainer> all;
  cluster::ClusterView view = context.control.view();
  for (const cluster::Node* node : in_order(view)) {
    auto report = context.control.reports().find(node->id);
    if (report == context.control.reports().end() || !report->second.container) continue;
    all.push_back({node->name, node->role, *report->second.container});
    for (const ContainerReport& other : report->second.others) all.push_back({node->name, node->role, other});
  }
  return all;
}

nlohmann::json ps(const RequestContext& context) {
  nlohmann::json list = nlohmann::json::array();
  for (const PlacedContainer& c : all_containers(context)) {
    nlohmann::json item = to_json(c.container);
    item["node"] = c.node;
    item["role"] = cluster::role_name(c.role);
    list.push_back(std::move(item));
  }
  return {{"containers", std::move(list)}};
}

nlohmann::json status(const RequestContext& context) {
  cluster::ClusterView view = context.control.view();
  nlohmann::json nodes = nlohmann::json::array();
  const cluster::Node* self = context.control.self();
  bool head = self && self->role == cluster::MemberRole::head;
  for (const cluster::Node* place : in_order(view)) {
    const cluster::Node& node = *place;
    const std::string& id = node.id;
    if (!head && !(self && id == self->id)) continue;  // a worker speaks for itself
    nlohmann::json item = {{"name", node.name},
                           {"id", id},
                           {"role", cluster::role_name(node.role)},
                           {"status", cluster::status_name(node.status)},
                           {"address", cluster::reached_at(view.cluster, node, node.address)},
                           {"subnet", node.subnet},
                           {"underlay", node.underlay}};
    if (net::encrypts(context.net.mode())) item["overlay"] = node.overlay;
    if (!node.seen.empty()) item["behind_nat"] = node.seen;
    if (auto report = context.control.reports().find(id); report != context.control.reports().end())
      item["report"] = to_json(report->second);
    nodes.push_back(std::move(item));
  }
  nlohmann::json answer = {{"nodes", std::move(nodes)}};
  answer["cluster"] = {{"id", view.cluster.id},           {"image", view.cluster.image},
                       {"overlay", view.cluster.overlay}, {"encrypted", is_encrypted(view.cluster)},
                       {"pool", view.cluster.pool},       {"prefix", view.cluster.prefix},
                       {"workers", view.cluster.workers}, {"epoch", view.epoch}};
  if (std::string trouble = context.control.trouble(); !trouble.empty()) answer["head"] = trouble;
  if (!context.net.problems().empty()) answer["network"] = context.net.problems();
  if (head)
    if (Wholeness w = wholeness(view, context.control.reports()); !w.whole) answer["missing"] = w.missing;
  return answer;
}

// Answers once all are healthy, or fails when the time is up.
void wait_for_whole(const std::shared_ptr<RequestContext>& context, const cluster::ChannelPtr& channel,
                    std::chrono::steady_clock::time_point deadline) {
  auto timer = std::make_shared<asio::steady_timer>(context->io);
  auto look = std::make_shared<std::function<void()>>();
  *look = [context, channel, deadline, timer, look] {
    if (channel->closed()) return *look = nullptr, void();
    Wholeness w = wholeness(context->control.view(), context->control.reports());
    bool late = std::chrono::steady_clock::now() >= deadline;
    if (w.whole || late) {
      if (w.whole)
        channel->respond(nlohmann::json::object());
      else
        channel->fail(fmt::format("not all nodes are healthy: {}", w.missing));
      asio::post(context->io, [look] { *look = nullptr; });  // breaks the cycle once this call is over
      return;
    }
    timer->expires_after(wait_interval);
    timer->async_wait([look](const boost::system::error_code& error) {
      if (!error && *look) (*look)();
    });
  };
  (*look)();
}

// Runs `own` when the target is one of this node's containers, else passes the request on to its node.
void route(const std::shared_ptr<RequestContext>& context, const cluster::Request& request,
           const cluster::ChannelPtr& channel, const std::function<void(RayUnit& unit)>& own) {
  const cluster::Node* self = context->control.self();
  if (!self) throw Error("cannot look for containers: this node hasn't joined its cluster yet");
  std::string target = request.body.at("target").string();
  std::vector<PlacedContainer> all = all_containers(*context);
  const PlacedContainer& found = find_container(all, target);
  if (found.node == self->name) return own(context->units.of_container(found.container.id));
  cluster::ClusterView view = context->control.view();
  const cluster::Node* node = cluster::find_node(view, found.node);
  if (!node) throw Error("cannot find node '{}'", found.node);
  nlohmann::json body = request.body.raw();
  body["target"] = found.container.id;  // a node's name may mean another there
  context->control.forward(node->id, channel, request.name, body);
}

RayUnit::Done answer_id(const RayUnit& unit, const cluster::ChannelPtr& channel) {
  const auto& container = unit.report().container;
  return [channel, id = container ? container->id : ""](const std::string& error) {
    if (!error.empty()) return channel->fail(error);
    channel->respond({{"id", id}});
  };
}

}  // namespace

Wholeness wholeness(const cluster::ClusterView& view, const std::map<std::string, NodeReport>& reports) {
  uint32_t healthy_workers = 0;
  bool head_healthy = false;
  std::vector<std::string> others;
  for (const auto& [id, node] : view.nodes) {
    if (!node.present()) {
      others.push_back(fmt::format("{} is {}", node.name, cluster::status_name(node.status)));
      continue;
    }
    auto report = reports.find(id);
    bool healthy = report != reports.end() && report->second.stage == Stage::healthy;
    if (!healthy)
      others.push_back(fmt::format("{} is {}", node.name,
                                   report == reports.end() ? "joining" : stage_name(report->second.stage)));
    else if (node.role == cluster::MemberRole::head)
      head_healthy = true;
    else
      ++healthy_workers;
  }
  Wholeness w;
  w.whole = head_healthy && healthy_workers >= view.cluster.workers;
  if (w.whole) return w;
  w.missing = fmt::format("{} of {} workers {} healthy", healthy_workers, view.cluster.workers,
                          healthy_workers == 1 ? "is" : "are");
  if (!others.empty()) w.missing += fmt::format("; {}", fmt::join(others, ", "));
  return w;
}

void register_node_requests(cluster::RequestTable& requests, const std::shared_ptr<RequestContext>& context) {
  requests.on("ps", cluster::Access::operate,
              [context](const cluster::Request&, const cluster::ChannelPtr& channel) {
                channel->respond(ps(*context));
              });
  requests.on("status", cluster::Access::operate,
              [context](const cluster::Request&, const cluster::ChannelPtr& channel) {
                channel->respond(status(*context));
              });
  requests.on("wait", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                auto seconds = std::chrono::seconds(
                    std::min<uint64_t>(request.body.at("seconds").size(), 7 * 24 * 3600));
                wait_for_whole(context, channel, std::chrono::steady_clock::now() + seconds);
              });
  requests.on("logs", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel, [&](RayUnit& unit) { unit.logs(request.body, channel); });
              });
  requests.on("exec", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel, [&](RayUnit& unit) { unit.exec(request.body, channel); });
              });
  requests.on("dial", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                uint64_t port = request.body.at("port").size();
                if (port < 1 || port > 65535) throw Error("cannot connect to port {}: not a port", port);
                route(context, request, channel, [&](RayUnit& unit) {
                  const auto& container = unit.report().container;
                  if (!container || container->state != ContainerState::running)
                    throw Error("cannot connect: the container isn't running ('rayctl status' says why)");
                  serve_dial(context->io, container->address, static_cast<uint16_t>(port), channel);
                });
              });
  // Where Ray's dashboard is, and what it wants to hear. Whoever may run commands in the container can read
  // the token there.
  requests.on("dashboard", cluster::Access::operate,
              [context](const cluster::Request&, const cluster::ChannelPtr& channel) {
                context->control.ray_token([channel](const std::string& token, const std::string& error) {
                  if (!error.empty()) return channel->fail(error);
                  channel->respond({{"target", "head"}, {"port", Ports{}.dashboard}, {"token", token}});
                });
              });
  requests.on("stop", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel, [&](RayUnit& unit) { unit.stop(answer_id(unit, channel)); });
              });
  requests.on("restart", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel,
                      [&](RayUnit& unit) { unit.restart(answer_id(unit, channel)); });
              });
  // From the head: what this node is to run of a deployment; null: its own Ray again.
  requests.on("containers.assign", cluster::Access::admin,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                auto list = request.body.find("containers");
                context->units.assign(list ? Assignment(parse_assigned_list(*list)) : std::nullopt);
                channel->respond(nlohmann::json::object());
              });
  requests.on("node.stop", cluster::Access::admin,
              [context](const cluster::Request&, const cluster::ChannelPtr& channel) {
                channel->respond(nlohmann::json::object());
                asio::post(context->io, context->shut_down);
              });
}

}  // namespace rayctl::ray
