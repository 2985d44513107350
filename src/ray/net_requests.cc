#include "ray/net_requests.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "net/policy_read.h"
#include "ray/net_check.h"

namespace rayctl::ray {

namespace {

// Runs `own` when the request is for this node ("" is this one), else passes it on.
void route(const std::shared_ptr<RequestContext>& context, const cluster::Request& request,
           const cluster::ChannelPtr& channel, const std::function<void()>& own) {
  const cluster::Node* self = context->control.self();
  if (!self) throw Error("cannot look at the network: this node hasn't joined its cluster yet");
  std::string target = request.body.string_or("node", "");
  cluster::ClusterView view = context->control.view();
  const cluster::Node* node = target.empty() ? self : cluster::find_node(view, target);
  if (!node) throw Error("cannot find node '{}': 'rayctl status' lists those that there are", target);
  if (node->id == self->id) return own();
  nlohmann::json body = request.body.raw();
  body["node"] = node->name;
  context->control.forward(node->id, channel, request.name, body);
}

nlohmann::json rules_of(const RequestContext& context) {
  if (context.net.mode() == net::OverlayMode::host)  // containers are the machine itself
    return {{"node", context.control.self()->name},
            {"rules",
             {{{"from", "anyone"}, {"to", "containers"}, {"what", "all (no overlay)"}, {"allowed", true}}}},
            {"members", nlohmann::json::object()}};
  net::Netlink netfilter(NETLINK_NETFILTER);
  net::ReachTable table = net::read_reach(netfilter, net::NodeNetwork{}.bridge);
  nlohmann::json rules = nlohmann::json::array(), members = nlohmann::json::object();
  for (const net::Reach& reach : table.rules)
    rules.push_back(
        {{"from", reach.from}, {"to", reach.to}, {"what", reach.what}, {"allowed", reach.allowed}});
  for (const auto& [end, addresses] : table.members) {
    auto& list = members[end] = nlohmann::json::array();
    for (const net::Address& address : addresses) list.push_back(net::to_string(address));
  }
  return {{"node", context.control.self()->name}, {"rules", rules}, {"members", members}};
}

}  // namespace

void register_net_requests(cluster::RequestTable& requests, const std::shared_ptr<RequestContext>& context) {
  requests.on("net.rules", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel, [&] { channel->respond(rules_of(*context)); });
              });
  requests.on("net.check", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                route(context, request, channel, [&] {
                  CheckInput input = context->net.check_input(request.body.string_or("peer", ""));
                  std::string name = context->control.self()->name;
                  context->jobs.run<std::vector<Check>>(
                      [input] { return judge(input, look_up(input)); },
                      [channel, name](std::optional<std::vector<Check>> checks, const std::string& error) {
                        if (channel->closed()) return;
                        if (!checks) return channel->fail(error);
                        channel->respond({{"node", name}, {"checks", to_json(*checks)}});
                      });
                });
              });
  requests.on("net.probe", cluster::Access::operate,
              [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
                net::Address address = net::parse_address(request.body.at("address").string());
                context->jobs.run<bool>(
                    [address] {
                      return net::probe({{address}}, std::chrono::milliseconds(1500)).at(0).time.has_value();
                    },
                    [channel](std::optional<bool> answered, const std::string& error) {
                      if (channel->closed()) return;
                      if (!answered) return channel->fail(error);
                      channel->respond({{"answered", *answered}});
                    });
              });
  requests.on(
      "net.rotate", cluster::Access::admin,
      [context](const cluster::Request& request, const cluster::ChannelPtr& channel) {
        route(context, request, channel, [&] {
          if (!net::encrypts(context->net.mode()))
            throw Error("cannot rotate the overlay's key: the overlay '{}' has none",
                        net::mode_name(context->net.mode()));
          context->net.rotate_key();
          channel->respond({{"node", context->control.self()->name}, {"key", context->net.public_key()}});
        });
      });
}

}  // namespace rayctl::ray
