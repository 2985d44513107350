#include "cluster/control_server.h"

#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

ControlServer::ControlServer(boost::asio::io_context& io, ClusterState& state, RequestTable& requests,
                             const ServerConfig& config, ServerCallbacks callbacks)
    : impl_(std::make_shared<Impl>(io, state, requests, config, std::move(callbacks))) {
  impl_->register_requests();
  impl_->register_operator_requests();
}

ControlServer::~ControlServer() {
  impl_->stop();
}

void ControlServer::start() {
  impl_->start();
}

uint16_t ControlServer::port() const {
  return impl_->port;
}

ChannelPtr ControlServer::request(const std::string& node_id, std::string_view name,
                                  const nlohmann::json& body, Completion completion,
                                  std::optional<std::chrono::milliseconds> timeout) {
  if (ConnectionPtr to = connection(node_id)) return to->request(name, body, std::move(completion), timeout);
  const Node* node = impl_->state.members().find(node_id);
  std::string reason = fmt::format("node '{}' is not connected", node ? node->name : node_id);
  boost::asio::post(impl_->io,
                    [completion = std::move(completion), reason] { completion({.error = reason}); });
  return nullptr;
}

bool ControlServer::connected(const std::string& node_id) const {
  return connection(node_id) != nullptr;
}

ConnectionPtr ControlServer::connection(const std::string& node_id) const {
  auto it = impl_->nodes.find(node_id);
  return it == impl_->nodes.end() || it->second->connection->closed() ? nullptr : it->second->connection;
}

const ClusterView& ControlServer::view() const {
  return impl_->view;
}

void ControlServer::set_own_names(const ContainerNames& names) {
  impl_->state.members().set_names(impl_->state.self().id, names.addresses, names.ill);
  impl_->schedule_publish();
}

void ControlServer::set_setting(const std::string& key, const std::string& value) {
  Cluster cluster = impl_->state.cluster();
  if (std::exchange(cluster.settings[key], value) == value) return;
  impl_->state.members().set_cluster(std::move(cluster));
  impl_->schedule_publish();
}

void ControlServer::set_policy(const std::optional<Policy>& policy) {
  Cluster cluster = impl_->state.cluster();
  if (cluster.policy == policy) return;
  cluster.policy = policy;
  impl_->state.members().set_cluster(std::move(cluster));
  impl_->schedule_publish();
}

void ControlServer::set_own_facts(NodeFacts facts) {
  facts.id = impl_->state.self().id;
  facts.role = MemberRole::head;
  impl_->state.members().arrive(facts, current_time());
  impl_->schedule_publish();
}

ControlServer::Counters ControlServer::counters() const {
  Counters counters = impl_->counters;
  counters.connections = impl_->sessions.size();
  counters.pending = impl_->pending();
  counters.nodes = impl_->nodes.size();
  return counters;
}

}  // namespace rayctl::cluster
