// The owner's link to the cluster's head: claims it, then asks it, over mutual TLS with the cluster's own
// root.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cluster/claim.h"
#include "cluster/context.h"
#include "cluster/operator_client.h"
#include "cluster/root.h"

namespace rayctl::fleet {

// For one thread. Calls block for their timeout at most; cluster::Unreachable while nothing answers (the
// connection is then made anew by the next call).
class Head {
 public:
  Head(const std::string& cluster, const cluster::Root& root, cluster::HostPort address);

  const cluster::HostPort& address() const { return address_; }
  // One try. With `tokens` of workers that boot meanwhile.
  cluster::ClaimResult claim(const std::vector<cluster::TokenRecord>& tokens);
  Json request(std::string_view name, const nlohmann::json& body,
               std::chrono::milliseconds timeout = std::chrono::seconds(15));
  // What other commands of this user need to reach the head.
  cluster::Context context() const;

 private:
  const std::string cluster_;
  const cluster::Root& root_;
  const cluster::HostPort address_;
  std::optional<cluster::OperatorClient> client_;
};

// What the head says of one of its nodes (request `status`).
struct NodeState {
  std::string id, name, role, address, underlay;
  bool present = false;  // joined and not silent
  std::string stage;     // as its report has it; empty: it sent none yet
  int64_t since = 0;     // seconds since the epoch
  std::string detail, error, log_tail;
  std::vector<std::string> ssh_host_keys;
  std::string login, instance;
};
std::vector<NodeState> parse_nodes(const Json& status);

}  // namespace rayctl::fleet
