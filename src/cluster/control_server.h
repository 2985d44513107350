// The head's side: admits nodes, keeps the membership, tells everyone the state, carries requests to nodes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/cluster_state.h"
#include "cluster/control_address.h"
#include "cluster/control_connection.h"
#include "cluster/control_protocol.h"

namespace rayctl::cluster {

struct ServerConfig {
  std::string listen_host = {};                 // a literal address; empty: every address, IPv6 and IPv4
  uint16_t listen_port = default_control_port;  // 0: any free one
  size_t max_connections = 20000;
  size_t max_pending = 256;                // connections that haven't said who they are
  std::chrono::seconds greeting_time{10};  // for TLS handshake and hello
  std::chrono::milliseconds batch{150};  // the state is told at most so often; changes meanwhile are gathered
  std::chrono::seconds silent_after{60};  // a stream without any sign of life is closed
};

// Callbacks come from the io_context's thread, never from within a call of the server.
struct ServerCallbacks {
  // Nodes joined, left or changed (also the head's own record), or what the cluster is did (then perhaps
  // none); the same shape as ControlClient's.
  std::function<void(const ClusterView& view, const std::set<std::string>& changed)> on_view = {};
  // A node's latest report (its own JSON, at most 64 KiB).
  std::function<void(const std::string& node_id, const Json& report)> on_report = {};
  std::function<void(const std::string&node_id)> on_connected = {}, on_disconnected = {};
};

// Listens from start() on. Registers in the table, with their rights: join and renew (anyone with a token;
// nodes), report and names (nodes), nodes, cluster.set and operator.renew (operators), nodes.remove,
// token.create, token.list, token.revoke, operators, operator.add, operator.remove (admins).
class ControlServer {
 public:
  ControlServer(boost::asio::io_context& io, ClusterState& state, RequestTable& requests,
                const ServerConfig& config, ServerCallbacks callbacks);
  ~ControlServer();  // closes every connection

  void start();           // throws: "cannot listen on '[::]:7443': Address already in use (…)"
  uint16_t port() const;  // the one in use

  // Asks a node; completes with an error when it isn't connected. The channel is null then.
  ChannelPtr request(const std::string& node_id, std::string_view name, const nlohmann::json& body,
                     Completion completion, std::optional<std::chrono::milliseconds> timeout = {});
  bool connected(const std::string& node_id) const;
  ConnectionPtr connection(const std::string& node_id) const;  // null when it isn't connected; for relay()
  const ClusterView& view() const;
  void set_own_names(const ContainerNames& names);                     // of the head's own containers
  void set_setting(const std::string& key, const std::string& value);  // of the cluster, for every node
  void set_policy(const std::optional<Policy>& policy);                // of a deployment, for every node
  void set_own_facts(NodeFacts facts);  // e.g. a new underlay address or MAC (id and role are filled in)

  struct Counters {
    size_t connections = 0, pending = 0, nodes = 0;
    uint64_t accepted = 0, refused = 0, joins = 0, bytes_of_state = 0;
  };
  Counters counters() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
