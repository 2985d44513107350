// The first message on a connection: who is it, and may it stay?
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_protocol.h"
#include "cluster/control_server_impl.h"

namespace rayctl::cluster {

namespace {

constexpr std::chrono::seconds duplicate_wait{2};
constexpr unsigned max_refusal_lines = 20;  // a minute

}  // namespace

void ControlServer::Impl::hello(const SessionPtr& session, const Json& hello) {
  if (session->greeted) throw Error("it greets twice");
  session->greeted = true;
  settled(session);
  try {
    if (hello.at("protocol").size() != protocol_version)
      throw Error("cannot talk to version {} of rayctl: this head is another one (use the same on all nodes)",
                  printable(hello.string_or("version", "unknown")));
    std::string kind = hello.at("kind").string();
    std::optional<CertificateInfo> certificate = session->connection->certificate();
    if (kind == "join") return join(session, hello);
    if (kind == "claim") throw Error("cannot claim this head: it was claimed already");
    if (!certificate) throw Error("cannot open a stream without a certificate: join first");
    if (kind == "node") return node_stream(session, hello, *certificate);
    if (kind == "operator") return operator_stream(session, hello, *certificate);
    throw Error("cannot open a stream of kind '{}': unknown to this version", printable(kind.substr(0, 64)));
  } catch (const Error& e) {  // the boundary of one connection
    refuse(session, e.message(), Final::yes);
  }
}

void ControlServer::Impl::refuse(const SessionPtr& session, const std::string& reason, Final final) {
  ++counters.refused;
  // Strangers must not fill the log.
  if (Clock::now() - refusals_since >= std::chrono::minutes(1)) {
    refusals_since = Clock::now();
    refusals_told = 0;
  }
  if (++refusals_told <= max_refusal_lines)
    info("refused {}: {}", session->address, reason);
  else if (refusals_told == max_refusal_lines + 1)
    warn("more refusals follow; they are not logged for a minute");
  session->connection->hello(
      {{"protocol", protocol_version}, {"refused", reason}, {"final", final == Final::yes}});
  session->connection->close(reason);
}

void ControlServer::Impl::join(const SessionPtr& session, const Json& hello) {
  check_clock(hello.at("time").integer(), "join");
  MemberRole role = role_by_name(hello.at("role").string()).value_or(MemberRole::head);
  Now now = current_time();
  if (role == MemberRole::operator_ || role == MemberRole::admin) return join_operator(session, hello, role);
  NodeFacts facts = parse_facts(hello.at("node"));
  Json token = hello.at("token");
  const Node* known = state.members().find(facts.id);
  auto use = known ? TokenStore::Use::again : TokenStore::Use::first;
  std::string token_id =
      state.tokens()
          .verify(token.at("id").string(), token.at("secret").string(), facts.role, now.wall, use)
          .id;
  // The request's own signature proves the key, and the key is the id: nobody can join as another node.
  X509Ptr certificate =
      state.authority().sign(hello.at("csr").string(), {state.cluster().id, facts.role, facts.id}, now.wall);
  facts.seen = session->address;
  if (facts.underlay.empty()) facts.underlay = session->address;
  const Node& node = state.members().arrive(facts, now);
  if (!known) state.journal(state.tokens().count_use(token_id));
  ++counters.joins;
  info("node '{}' ({}) joined from {} with token {}", node.name, node.id, session->address, token_id);
  schedule_publish();
  durable([session, pem = to_pem(certificate), authority = to_pem(state.authority().certificate())] {
    session->connection->hello(
        {{"protocol", protocol_version}, {"certificate", pem}, {"authority", authority}});
  });
}

void ControlServer::Impl::join_operator(const SessionPtr& session, const Json& hello, MemberRole role) {
  WallTime now = wall_now();
  Json token = hello.at("token");
  std::string id = state.tokens().verify(token.at("id").string(), token.at("secret").string(), role, now).id;
  X509Ptr certificate = state.authority().sign(hello.at("csr").string(), {state.cluster().id, role, id}, now);
  state.journal(state.tokens().count_use(id));
  info("an {} got a certificate from {} with token {}", role_name(role), session->address, id);
  durable([session, pem = to_pem(certificate), authority = to_pem(state.authority().certificate())] {
    session->connection->hello(
        {{"protocol", protocol_version}, {"certificate", pem}, {"authority", authority}});
  });
}

void ControlServer::Impl::operator_stream(const SessionPtr& session, const Json& hello,
                                          const CertificateInfo& certificate) {
  const Identity& identity = certificate.identity;
  MemberRole role = identity.role;
  if (role != MemberRole::operator_ && role != MemberRole::admin)
    throw Error("cannot open an operator's stream: the certificate is for {} {}", role_name(role),
                identity.id);
  check_clock(hello.at("time").integer(), "open an operator's stream");
  std::optional<std::string> name = operator_name(identity.id);
  if (name) {
    bool by_root = state.authority().root() && !session->connection->root() &&
                   spki_pin(session->connection->authority()) == state.authority().pin();
    std::string reason = state.operators().refusal(
        certificate, by_root ? OperatorStore::SignedBy::root : OperatorStore::SignedBy::authority);
    if (!reason.empty()) throw Error("cannot open an operator's stream: {}", reason);
  } else if (state.tokens().revoked(identity.id)) {
    // Whoever was admitted by a token goes with it.
    throw Error("cannot open an operator's stream: token {}, which admitted it, was revoked", identity.id);
  }
  session->connection->admit({.kind = role == MemberRole::admin ? Peer::Kind::admin : Peer::Kind::operator_,
                              .id = identity.id,
                              .label = fmt::format("{} {}", role_name(role), name.value_or(identity.id))});
  session->connection->hello({{"protocol", protocol_version},
                              {"cluster", state.cluster().id},
                              {"epoch", state.epoch()},
                              {"time", wall_now().time_since_epoch().count()}});
}

void ControlServer::Impl::node_stream(const SessionPtr& session, const Json& hello,
                                      const CertificateInfo& certificate) {
  if (certificate.identity.role != MemberRole::worker)
    throw Error("cannot open a worker's stream: the certificate is for {} {}",
                role_name(certificate.identity.role), certificate.identity.id);
  NodeFacts facts = parse_facts(hello.at("node"));
  if (facts.id != certificate.identity.id || facts.role != MemberRole::worker)
    throw Error("cannot open the stream of {} {}: the certificate is for worker {}", role_name(facts.role),
                facts.id, certificate.identity.id);
  facts.seen = session->address;
  if (facts.underlay.empty()) facts.underlay = session->address;
  session->instance = hello.at("instance").string().substr(0, 64);
  session->packs = hello.boolean_or("packs", false);
  uint64_t version = hello.string_or("cluster", "") == state.cluster().id ? hello.size_or("state", 0) : 0;
  std::chrono::seconds ahead = WallTime(std::chrono::seconds(hello.at("time").integer())) - wall_now();
  if (ahead > max_clock_skew || ahead < -max_clock_skew)
    warn("the clock of node {} at {} is {} s off the head's", facts.id, session->address, ahead.count());
  auto other = nodes.find(facts.id);
  if (other == nodes.end() || other->second->connection->closed()) return admit_node(session, facts, version);
  if (other->second->instance == session->instance) {
    other->second->connection->close("the node opened another stream");
    return admit_node(session, facts, version);
  }
  settle_duplicate(session, facts, version);
}

// Two processes with one key. Either the older stream is dead and nobody told us, or a disk was cloned.
void ControlServer::Impl::settle_duplicate(const SessionPtr& session, const NodeFacts& facts,
                                           uint64_t version) {
  SessionPtr older = nodes.at(facts.id);
  Clock::time_point asked = Clock::now();
  older->connection->ping();
  auto timer = std::make_shared<boost::asio::steady_timer>(io, duplicate_wait);
  timer->async_wait([timer, weak = weak_from_this(), session, older, facts, version,
                     asked](const boost::system::error_code& error) {
    auto self = weak.lock();
    if (error || !self || self->stopped || session->connection->closed()) return;
    if (!older->connection->closed() && older->connection->last_heard() > asked) {
      // Not final: the older one may be about to stop.
      return self->refuse(
          session,
          fmt::format("node {} is connected already, from {} (was this machine's disk copied from that "
                      "one? rayctl node reset makes it a new node)",
                      facts.id, older->address),
          Final::no);
    }
    older->connection->close("the node opened another stream");
    try {
      self->admit_node(session, facts, version);
    } catch (const Error& e) {  // the boundary of one connection
      self->refuse(session, e.message(), Final::yes);
    }
  });
}

void ControlServer::Impl::admit_node(const SessionPtr& session, const NodeFacts& facts, uint64_t version) {
  const Node& node = state.members().arrive(facts, current_time());
  if (state.members().changed()) schedule_publish();
  session->node_id = facts.id;
  session->noted = Clock::now();
  session->sent_version = version;
  nodes[facts.id] = session;
  session->connection->admit(
      {.kind = Peer::Kind::node, .id = node.id, .label = fmt::format("node '{}'", node.name)});
  debug("node '{}' connected from {}", node.name, session->address);
  durable([weak = weak_from_this(), session] {
    auto self = weak.lock();
    if (!self || session->connection->closed()) return;
    const ClusterState& state = self->state;
    session->connection->hello({{"protocol", protocol_version},
                                {"cluster", state.cluster().id},
                                {"epoch", state.epoch()},
                                {"state", state.members().version()},
                                {"time", wall_now().time_since_epoch().count()}});
    session->answered = true;
    self->push(session);
    if (self->callbacks.on_connected) self->callbacks.on_connected(session->node_id);
  });
}

}  // namespace rayctl::cluster
