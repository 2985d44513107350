// The inside of ControlServer, shared by its .cc files: sessions, the durable queue, publishing.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cluster/control_server.h"

namespace rayctl::cluster {

struct ControlServer::Impl : std::enable_shared_from_this<ControlServer::Impl> {
  using Clock = std::chrono::steady_clock;

  // One accepted connection, from the first byte on.
  struct Session {
    ConnectionPtr connection = {};
    std::string address = {};  // of the other end, for messages
    Clock::time_point opened = {};
    bool greeted = false;          // its hello was read; it isn't pending any more
    std::string node_id = {};      // a node's stream
    std::string instance = {};     // of the process at the other end
    bool answered = false;         // our hello went out: the state may follow
    bool packs = false;            // it reads packed notifications
    uint64_t sent_version = 0;     // of the state
    Clock::time_point noted = {};  // the last sign of life that the membership knows of
  };
  using SessionPtr = std::shared_ptr<Session>;
  using SessionList = std::list<SessionPtr>;

  Impl(boost::asio::io_context& io, ClusterState& state, RequestTable& requests, const ServerConfig& config,
       ServerCallbacks callbacks);

  // --- connections (control_server_accept.cc) ---
  void start();
  void stop();
  void wait_accept();
  void accept_some();
  bool make_room();  // false: wait, the pending ones are young
  void take(Fd socket);
  void closed(const SessionPtr& session, const std::string& reason);
  size_t pending() const { return pending_count; }
  void settled(const SessionPtr& session);  // it isn't pending any more
  void sweep();                             // once a second: deadlines, heartbeats, the membership's clock

  // --- greetings (control_server_hello.cc) ---
  void hello(const SessionPtr& session, const Json& hello);
  void join(const SessionPtr& session, const Json& hello);
  void join_operator(const SessionPtr& session, const Json& hello, MemberRole role);
  void node_stream(const SessionPtr& session, const Json& hello, const CertificateInfo& certificate);
  void admit_node(const SessionPtr& session, const NodeFacts& facts, uint64_t version);
  void operator_stream(const SessionPtr& session, const Json& hello, const CertificateInfo& certificate);
  enum class Final { no, yes };
  void refuse(const SessionPtr& session, const std::string& reason, Final final);
  void settle_duplicate(const SessionPtr& session, const NodeFacts& facts, uint64_t version);

  // --- state (control_server_state.cc) ---
  void durable(std::function<void()> then);  // calls it once everything so far is on the disk
  void schedule_publish();
  void publish();
  void push_some();  // to those in `behind`, a few in a turn of the loop
  void push(const SessionPtr& session);
  struct Encoded {
    std::string text, packed;
    uint64_t to;
  };
  const Encoded& encoded_delta(uint64_t from);

  // --- requests (control_server_requests.cc) ---
  using Handler = std::function<void(Impl&, const Request&, const ChannelPtr&)>;
  void on(std::string name, Access access, Handler handler);  // for as long as this lives
  void register_requests();
  void register_operator_requests();  // control_server_operators.cc
  void notify(const SessionPtr& session, const std::string& name, const Json& body);
  void remove_node(const std::string& name);

  boost::asio::io_context& io;
  ClusterState& state;
  RequestTable& requests;
  ServerConfig config;
  ServerCallbacks callbacks;
  TlsContext tls;
  std::unique_ptr<boost::asio::posix::stream_descriptor> listener;
  boost::asio::steady_timer sweep_timer, publish_timer, durable_timer, accept_timer;
  uint16_t port = 0;
  bool stopped = false, publish_scheduled = false;
  std::unordered_map<Session*, SessionPtr> sessions;
  SessionList pending_order;  // oldest first
  std::unordered_map<Session*, SessionList::iterator> pending_place;
  size_t pending_count = 0;
  std::unordered_map<std::string, SessionPtr> nodes;  // by node id
  std::vector<std::function<void()>> after_commit;
  std::set<std::string> unpublished;  // ids that changed since the last publish
  ClusterView view;
  uint64_t seen_cluster = 0;           // the version of `view.cluster`
  std::map<uint64_t, Encoded> deltas;  // by the version that they start from; good until the next publish
  std::vector<SessionPtr> behind;      // who is to be told of the last publish
  Counters counters;
  size_t to_trim = 0;    // bytes that came and went since free memory went back to the kernel
  uint64_t garbage = 0;  // connections that never said who they are, since the last line about them
  Clock::time_point published = {};
  Clock::time_point garbage_told = {}, renewal_checked = {}, swept = {};
  Clock::time_point refusals_since = {};
  unsigned refusals_told = 0;  // since then
};

}  // namespace rayctl::cluster
