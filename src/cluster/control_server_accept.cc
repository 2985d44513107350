// Accepting connections: bounded, with a deadline for those that don't say who they are.
#include <malloc.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/log.h"
#include "cluster/control_address.h"
#include "cluster/control_binary.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr int accept_turn = 64;
constexpr std::chrono::milliseconds accept_pause{50};
constexpr std::chrono::minutes renewal_interval{10};
constexpr std::chrono::seconds stopped_for{5};  // between two sweeps: this process didn't run
constexpr size_t trim_size = 16 << 20;
constexpr size_t handshake_garbage = 16 << 10;  // that one connection leaves between what stays

}  // namespace

ControlServer::Impl::Impl(asio::io_context& io, ClusterState& state, RequestTable& requests,
                          const ServerConfig& config, ServerCallbacks callbacks)
    : io(io),
      state(state),
      requests(requests),
      config(config),
      callbacks(std::move(callbacks)),
      tls(TlsContext::Side::server, state.credentials(), PeerPolicy{.certificate_required = false}),
      sweep_timer(io),
      publish_timer(io),
      durable_timer(io),
      accept_timer(io) {
  view.cluster = state.cluster();
  seen_cluster = state.members().cluster_version();
  view.epoch = state.epoch();
  view.version = state.members().version();
  for (const auto& [id, node] : state.members().nodes())
    if (node.status != NodeStatus::expired && node.status != NodeStatus::removed) view.nodes[id] = node;
}

void ControlServer::Impl::start() {
  Fd socket = listen_on({config.listen_host, config.listen_port});
  port = port_of(socket.get());
  listener = std::make_unique<asio::posix::stream_descriptor>(io, socket.release());
  wait_accept();
  swept = Clock::now();
  sweep();
}

void ControlServer::Impl::stop() {
  stopped = true;
  callbacks = {};
  if (listener) listener->close();
  for (auto* timer : {&sweep_timer, &publish_timer, &durable_timer, &accept_timer}) timer->cancel();
  auto open = sessions;
  for (const auto& [raw, session] : open) session->connection->close("the head's supervisor stops");
}

void ControlServer::Impl::wait_accept() {
  if (stopped) return;
  listener->async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         if (!error && !self->stopped) self->accept_some();
                       });
}

void ControlServer::Impl::accept_some() {
  for (int i = 0; i < accept_turn; ++i) {
    bool full = sessions.size() >= config.max_connections || !make_room();
    Fd socket;
    if (!full) {
      socket.reset(accept4(listener->native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket && errno == EAGAIN) return wait_accept();
      if (!socket && (errno == ECONNABORTED || errno == EINTR)) continue;
      if (!socket)
        warn("cannot accept a connection: {}", SysError::describe(errno));  // no fds left, no memory
    }
    if (!socket) {
      accept_timer.expires_after(full ? accept_pause : std::chrono::milliseconds(1000));
      accept_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (!error) self->wait_accept();
      });
      return;
    }
    take(std::move(socket));
  }
  // The others have their turn before the next burst.
  asio::post(io, [self = shared_from_this()] {
    if (!self->stopped) self->accept_some();
  });
}

// When many haven't said who they are, the oldest goes; but a crowd of nodes that all join at once is let
// come through.
bool ControlServer::Impl::make_room() {
  if (pending_count < config.max_pending) return true;
  SessionPtr oldest = pending_order.front();
  if (Clock::now() - oldest->opened < config.greeting_time / 5) return false;
  ++counters.refused;
  oldest->connection->close("too many connections that don't say who they are");
  settled(oldest);
  return true;
}

void ControlServer::Impl::take(Fd socket) {
  tune_stream(socket.get());
  ++counters.accepted;
  to_trim += handshake_garbage;
  auto session = std::make_shared<Session>();
  session->opened = session->noted = Clock::now();
  std::weak_ptr<Impl> weak = weak_from_this();
  // Weak: a session owns its connection, and this owns the sessions.
  std::weak_ptr<Session> weak_session = session;
  auto with = [weak, weak_session](auto call) {
    auto self = weak.lock();
    if (auto locked = weak_session.lock(); self && locked) call(*self, locked);
  };
  Connection::Callbacks on;
  on.on_http = [with](Fd http) {
    with([&](Impl& self, const SessionPtr& of) {
      of->greeted = true;  // as far as it ever will be
      self.settled(of);
      hand_out_binary(self.io, std::move(http));
    });
  };
  on.on_hello = [with](const Json& hello) {
    with([&](Impl& self, const SessionPtr& of) { self.hello(of, hello); });
  };
  on.on_request = [weak](const Request& request, const ChannelPtr& channel) {
    if (auto self = weak.lock()) self->requests.dispatch(request, channel);
  };
  on.on_notify = [with](const std::string& name, const Json& body) {
    with([&](Impl& self, const SessionPtr& of) { self.notify(of, name, body); });
  };
  on.on_drained = [with] {
    with([](Impl& self, const SessionPtr& of) {
      if (!of->node_id.empty()) self.push(of);
    });
  };
  on.on_closed = [with](const std::string& reason) {
    with([&](Impl& self, const SessionPtr& of) { self.closed(of, reason); });
  };
  session->connection =
      Connection::start(io, std::move(socket), &tls, Connection::Origin::acceptor, Peer{}, std::move(on));
  session->address = session->connection->remote_address();
  sessions[session.get()] = session;
  pending_order.push_back(session);
  pending_place[session.get()] = std::prev(pending_order.end());
  ++pending_count;
}

void ControlServer::Impl::settled(const SessionPtr& session) {
  auto place = pending_place.find(session.get());
  if (place == pending_place.end()) return;
  pending_order.erase(place->second);
  pending_place.erase(place);
  --pending_count;
}

void ControlServer::Impl::closed(const SessionPtr& session, const std::string& reason) {
  settled(session);
  sessions.erase(session.get());
  if (!session->greeted) {
    // Anybody can do this to an open port: counted, and told now and then.
    ++garbage;
    debug("the connection from {} ended before it said who it is: {}", session->address, reason);
    if (Clock::now() - garbage_told >= std::chrono::minutes(1)) {
      garbage_told = Clock::now();
      warn("{} connection{} ended before saying who they are (the last one from {}: {})", garbage,
           garbage == 1 ? "" : "s", session->address, reason);
      garbage = 0;
    }
  }
  auto it = nodes.find(session->node_id);
  if (it == nodes.end() || it->second != session) return;
  nodes.erase(it);
  const Node* node = state.members().find(session->node_id);
  info("the stream of node '{}' ended: {}", node ? node->name : session->node_id, reason);
  if (callbacks.on_disconnected) callbacks.on_disconnected(session->node_id);
}

void ControlServer::Impl::sweep() {
  Clock::time_point now = Clock::now();
  while (!pending_order.empty() && now - pending_order.front()->opened >= config.greeting_time) {
    SessionPtr late = pending_order.front();
    ++counters.refused;
    late->connection->close("no greeting came in time");
    settled(late);
  }
  bool was_stopped = now - swept > stopped_for;
  swept = now;
  if (was_stopped) state.members().excuse(current_time());
  std::vector<SessionPtr> silent;
  for (const auto& [id, session] : nodes) {
    Clock::time_point heard = session->connection->last_heard();
    if (heard > session->noted) {
      session->noted = heard;
      state.members().heard(id, {heard, wall_now()});
    }
    if (now - heard >= config.silent_after && !was_stopped) silent.push_back(session);
  }
  for (const SessionPtr& session : silent)
    session->connection->close(fmt::format("nothing was heard for {} s", config.silent_after.count()));
  bool was_frozen = state.members().frozen();
  state.members().tick(current_time());
  if (bool frozen = state.members().frozen(); frozen != was_frozen)
    warn("{}", frozen ? "many nodes fell silent at once: none of them is declared down for now, the head "
                        "itself may be cut off"
                      : "the nodes that fell silent are back, or were given up");
  if (state.members().changed()) schedule_publish();
  // What a flood of changes needed for a moment isn't kept for good.
  if (to_trim >= trim_size && !publish_scheduled) {
    to_trim = 0;
    malloc_trim(0);
  }
  if (now - renewal_checked >= renewal_interval) {
    renewal_checked = now;
    if (state.renew_own(current_time())) {
      tls.renew(state.credentials());
      info("the head's certificate was renewed");
    }
  }
  sweep_timer.expires_after(std::chrono::seconds(1));
  sweep_timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->stopped) self->sweep();
  });
}

}  // namespace rayctl::cluster
