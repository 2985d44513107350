// The inside of ControlClient, shared by its .cc files.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "cluster/control_address.h"
#include "cluster/control_client.h"

namespace rayctl::cluster {

struct ControlClient::Impl : std::enable_shared_from_this<ControlClient::Impl> {
  using Clock = std::chrono::steady_clock;

  Impl(boost::asio::io_context& io, const Paths& paths, const ClientConfig& config, RequestTable& requests,
       ClientCallbacks callbacks);
  void stop();

  // --- reaching the head (control_client.cc) ---
  void attempt();
  void resolved(std::vector<SocketAddress> found, const std::string& error);
  void try_next();  // the next address of this attempt, or a wait and another attempt
  void connect(const SocketAddress& address);
  void opened();
  void closed(const std::string& reason);
  void again(const std::string& reason);
  void stood_still();  // it did, and perhaps for the size of its packets
  void refused(const std::string& reason);
  void tell_unreachable(const std::string& reason);

  // --- what the head says (control_client_state.cc) ---
  void hello(const Json& hello);
  void take_certificate(const Json& hello);
  void ready(const Json& hello);
  void notify(const std::string& name, const Json& body);
  void take_delta(const Json& body);
  void load_view();
  void save_view();
  void save_view_soon();
  void announce(const std::set<std::string>& changed);
  void beat();
  void flush();  // report, names and facts that the head doesn't have yet
  void flush_soon();
  void renew_if_due();
  const Node* self_in_view() const;
  nlohmann::json greeting(std::string_view kind) const;

  boost::asio::io_context& io;
  ClientConfig config;
  HostPort head;
  std::string directory, id, instance;
  RequestTable& requests;
  ClientCallbacks callbacks;
  Credentials credentials;
  boost::asio::steady_timer retry_timer, deadline, beat_timer, flush_timer, save_timer;
  std::atomic<bool> resolving_stop{false};
  std::thread resolver;
  std::vector<SocketAddress> addresses;  // of this attempt, those not tried yet
  ConnectionPtr connection;              // the one being made, or in use
  bool stopped = false, ready_for_use = false, was_refused = false, joining = false;
  int segment = usual_segment;
  bool standing_still = false;  // at the last beat
  unsigned attempts = 0;
  std::string error;  // why it isn't connected
  Clock::time_point unreachable_since = {}, unreachable_told = {};
  ClusterView view;
  bool announced = false;                 // on_view was called
  std::set<std::string> pending_changes;  // of a delta that comes in pieces
  bool view_saved = true;
  std::string report;  // the newest, as the notification's text
  bool report_sent = true, names_sent = true, facts_sent = true;
  std::optional<ContainerNames> names;
  double renewal_point = 0;  // where in a certificate's life this node renews it
  Clock::time_point renewal_tried = {};
};

}  // namespace rayctl::cluster
