#include "fleet/head.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cluster/control_connection.h"

namespace rayctl::fleet {

namespace {

constexpr auto dial_timeout = std::chrono::seconds(8);

}  // namespace

Head::Head(const std::string& cluster, const cluster::Root& root, cluster::HostPort address)
    : cluster_(cluster), root_(root), address_(std::move(address)) {}

cluster::ClaimResult Head::claim(const std::vector<cluster::TokenRecord>& tokens) {
  return cluster::claim_head(address_, root_, root_.claim_token(),
                             {.operator_name = cluster::user_name(), .tokens = tokens}, dial_timeout);
}

cluster::Context Head::context() const {
  return cluster::context_of_root(cluster_, address_, root_, cluster::user_name());
}

Json Head::request(std::string_view name, const nlohmann::json& body, std::chrono::milliseconds timeout) {
  if (!client_ || client_->connection()->closed()) {
    client_.reset();
    cluster::Context mine = context();
    client_ = cluster::OperatorClient::dial(mine, dial_timeout);
  }
  try {
    return client_->request(name, body, timeout);
  } catch (const Error& e) {
    if (!client_->connection()->closed()) throw;
    std::string reason = e.message();
    client_.reset();
    throw cluster::Unreachable("cannot reach the head {}: {}", cluster::format_host_port(address_), reason);
  }
}

std::vector<NodeState> parse_nodes(const Json& status) {
  std::vector<NodeState> nodes;
  for (const Json& item : status.at("nodes").items()) {
    NodeState node;
    node.id = item.at("id").string();
    node.name = item.at("name").string();
    node.role = item.at("role").string();
    node.address = item.string_or("address", "");
    node.underlay = item.string_or("underlay", "");
    std::string member = item.at("status").string();
    node.present = member == "joined" || member == "suspect";
    if (auto report = item.find("report")) {
      node.stage = report->string_or("stage", "");
      if (auto since = report->find("since")) node.since = since->integer();
      node.detail = report->string_or("detail", "");
      node.error = report->string_or("error", "");
      node.log_tail = report->string_or("log_tail", "");
      node.ssh_host_keys = report->strings_or_empty("ssh_host_keys");
      node.login = report->string_or("login", "");
      node.instance = report->string_or("instance", "");
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace rayctl::fleet
