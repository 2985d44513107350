// A worker's side: joins, stays connected, keeps what it knows of the cluster on disk.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/paths.h"
#include "cluster/control_address.h"
#include "cluster/control_backoff.h"
#include "cluster/control_connection.h"
#include "cluster/control_protocol.h"
#include "cluster/membership.h"

namespace rayctl::cluster {

struct ClientConfig {
  HostPort head = {"", default_control_port};  // a name is resolved again at each attempt
  std::optional<Token> token = {};             // needed for the first join only; dropped once joined
  NodeFacts facts =
      {};  // id and role are filled in; underlay too when it is empty (the stream's own address)
  std::chrono::milliseconds heartbeat{5000};
  std::chrono::milliseconds head_silent{15000};  // no answer for this long: reconnect
  std::chrono::seconds connect_time{10};         // for TCP, TLS and hello, each attempt
  Backoff backoff = {};
};

struct ClientCallbacks {
  // The view is complete and current (first time: the node has its name, subnet and address), or it changed.
  // When the head can't be reached at start and the disk has a view, it is called with that one.
  std::function<void(const ClusterView& view, const std::set<std::string>& changed)> on_view = {};
  std::function<void()> on_connected = {};
  std::function<void(const std::string& reason)> on_disconnected = {};
  // The head refuses this node for good (token, name, removed, clock, wrong CA, …): trying again can't help.
  // The text is for people. Also for a node that is already running: `reset` or `nodes rm` happened.
  std::function<void(const std::string& reason)> on_refused = {};
};

// Connects from start() on, again and again: "head unreachable" is logged once, then every minute. Requests
// of the head go to the table (its Peer is of kind head).
class ControlClient {
 public:
  // Loads or makes the node's key in state_dir/cluster. Throws when there is neither certificate nor token
  // (with the line that makes one), or when the state directory belongs to another cluster than the token.
  ControlClient(boost::asio::io_context& io, const Paths& paths, const ClientConfig& config,
                RequestTable& requests, ClientCallbacks callbacks);
  ~ControlClient();

  void start();
  const std::string& node_id() const;
  bool connected() const;
  bool joined() const;              // has a certificate
  const ClusterView& view() const;  // from the head or from the disk; nodes is empty before the first
  const Node* self() const;         // its own record in the view

  ChannelPtr request(
      std::string_view name, const nlohmann::json& body, Completion completion,
      std::optional<std::chrono::milliseconds> timeout = {});  // an error at once when not connected
  // The newest report is what counts: sent when connected, again after each reconnection, at most every 200
  // ms.
  void report(const nlohmann::json& report);
  void set_names(const ContainerNames& names);  // sent likewise
  void set_facts(const NodeFacts& facts);       // e.g. a new underlay address or MAC; sent likewise
  std::string last_error() const;               // why it isn't connected, for status; empty when it is

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
