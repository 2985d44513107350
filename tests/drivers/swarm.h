// Thousands of nodes in one process that speak the real control protocol: token, certificate request, mutual
// TLS, greeting, versioned state, heartbeats. What they don't do is keep a view each: what many are sent is
// read once, and one witness applies everything.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/base64.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/version.h"
#include "cluster/control_address.h"
#include "cluster/control_backoff.h"
#include "cluster/control_connection.h"
#include "cluster/control_pack.h"
#include "cluster/control_protocol.h"
#include "cluster/membership.h"
#include "cluster/token.h"

namespace rayctl::cluster {

class Swarm {
 public:
  using Say = std::function<void(const std::string& line)>;
  Swarm(boost::asio::io_context& io, const SocketAddress& head, Token token, size_t count, Say say);

  void start();
  void mute(size_t count);   // the first `count` fall silent, as behind a cut cable
  void unmute();             // and are heard again
  void leave(size_t count);  // the last `count` say goodbye and don't come back

 private:
  using Clock = std::chrono::steady_clock;
  struct Member {
    size_t number = 0;
    Credentials credentials = {};
    std::string id = {};
    ConnectionPtr connection = {};
    bool ready = false, muted = false, left = false;
    unsigned attempts = 0;
    uint64_t version = 0;
    std::unique_ptr<boost::asio::steady_timer> timer = {};
    std::shared_ptr<const TlsContext> tls = {};
  };
  // Of a delta: all that those need to know who keep no view.
  struct Step {
    uint64_t from = 0, to = 0;
    bool full = false;
  };

  void attempt(Member& member);
  void start_some();
  void opened(Member& member);
  void hello(Member& member, const Json& hello);
  bool notify(Member& member, std::string_view payload);
  void closed(Member& member, const std::string& reason);
  void beat(Member& member);
  void look();
  double share() { return std::uniform_real_distribution<double>(0, 1)(random_); }

  boost::asio::io_context& io_;
  SocketAddress head_;
  Token token_;
  Say say_;
  std::vector<Member> members_;
  size_t started_ = 0, under_way_ = 0, ready_ = 0, expected_ = 0;
  bool all_ready_ = false, complete_ = false;
  Clock::time_point begin_ = {};
  std::unordered_map<std::string, Step> steps_;  // by the payload's digest
  ClusterView witness_;                          // of member 0
  std::mt19937 random_{1};
  std::string last_reason_;
};

namespace {

constexpr size_t most_under_way = 400;  // at the same time, of those that begin
constexpr std::chrono::milliseconds heartbeat{5000};
constexpr Backoff backoff{};

}  // namespace

inline Swarm::Swarm(boost::asio::io_context& io, const SocketAddress& head, Token token, size_t count,
                    Say say)
    : io_(io), head_(head), token_(std::move(token)), say_(std::move(say)), members_(count) {
  expected_ = count;
  for (Member& member : members_) {
    member.number = static_cast<size_t>(&member - members_.data());
    member.credentials.key = make_key();
    member.id = node_id(member.credentials.key);
    member.timer = std::make_unique<boost::asio::steady_timer>(io_);
  }
}

inline void Swarm::start() {
  begin_ = Clock::now();
  start_some();
}

inline void Swarm::start_some() {
  while (started_ < members_.size() && under_way_ < most_under_way) {
    ++under_way_;
    attempt(members_[started_++]);
  }
}

inline void Swarm::attempt(Member& member) {
  if (member.left || member.muted) return;
  ++member.attempts;
  if (!member.tls) {
    PeerPolicy policy{.role = MemberRole::head};
    if (!member.credentials.joined()) policy.ca_pin = token_.ca_pin;
    member.tls = std::make_shared<TlsContext>(TlsContext::Side::client, member.credentials, policy);
  }
  Connection::Callbacks on;
  on.on_open = [this, &member] { opened(member); };
  on.on_hello = [this, &member](const Json& json) { hello(member, json); };
  on.on_notify_encoded = [this, &member](std::string_view payload) { return notify(member, payload); };
  on.on_notify = [](const std::string&, const Json&) {};
  on.on_closed = [this, &member](const std::string& reason) { closed(member, reason); };
  member.connection = Connection::start(io_, begin_connect(head_), member.tls.get(),
                                        Connection::Origin::connector, Peer{}, std::move(on));
}

inline void Swarm::opened(Member& member) {
  NodeFacts facts{.id = member.id, .role = MemberRole::worker};
  facts.underlay =
      "192.0." + std::to_string(member.number / 250) + "." + std::to_string(member.number % 250 + 1);
  facts.public_key = to_base64(sha256(member.id));
  facts.overlay = "userspace";
  nlohmann::json hello{{"protocol", protocol_version},
                       {"version", version()},
                       {"time", wall_now().time_since_epoch().count()},
                       {"node", to_json(facts)}};
  if (!member.credentials.joined()) {
    hello["kind"] = "join";
    hello["role"] = "worker";
    hello["token"] = {{"id", token_.id}, {"secret", token_.secret}};
    hello["csr"] = make_csr(member.credentials.key);
  } else {
    hello["kind"] = "node";
    hello["instance"] = "swarm";
    hello["cluster"] = certificate_info(member.credentials.certificate).identity.cluster;
    hello["state"] = member.version;
    hello["packs"] = true;
  }
  member.connection->hello(hello);
}

inline void Swarm::hello(Member& member, const Json& hello) {
  if (auto reason = hello.find("refused")) return member.connection->close(reason->string());
  if (!member.credentials.joined()) {
    member.credentials.certificate = parse_certificate(hello.at("certificate").string(), "from the head");
    member.credentials.authority = member.connection->authority();
    member.credentials.root = member.connection->root();
    member.tls.reset();
    member.attempts = 0;
    return member.connection->close("");
  }
  member.connection->admit({.kind = Peer::Kind::head, .id = {}, .label = "the head"});
  member.attempts = 0;
  member.ready = true;
  if (started_ > 0 && under_way_ > 0) --under_way_;
  start_some();
  beat(member);
  if (++ready_ == expected_) {
    complete_ = false;
    say_(fmt::format("connected {} in {:.2f} s", ready_,
                     std::chrono::duration<double>(Clock::now() - begin_).count()));
  }
  look();
}

// True: it was a piece of the state.
inline bool Swarm::notify(Member& member, std::string_view payload) {
  std::string key = sha256(payload);
  auto found = steps_.find(key);
  Delta delta;
  if (found == steps_.end() || member.number == 0) {
    std::string text = unpack(payload, max_message_size);
    Json message = Json::parse(text, "notify", 32);
    if (message.at("name").string() != "state") return false;
    delta = parse_delta(message.at("body"));
    if (steps_.size() > 1000) steps_.clear();
    found = steps_.insert_or_assign(key, Step{delta.from, delta.to, delta.full}).first;
  }
  const Step& step = found->second;
  if (!step.full && step.from != member.version)
    throw Error("a change from version {} doesn't fit version {}", step.from, member.version);
  member.version = step.to;
  if (member.number == 0) apply(witness_, delta);
  look();
  return true;
}

inline void Swarm::look() {
  // All have the same version, and the witness of it knows everyone.
  if (complete_ || ready_ != expected_ || witness_.nodes.size() != expected_ + 1) return;
  for (const Member& member : members_)
    if (member.ready && member.version != witness_.version) return;
  complete_ = true;
  say_(fmt::format("complete {} in {:.2f} s", ready_,
                   std::chrono::duration<double>(Clock::now() - begin_).count()));
}

inline void Swarm::closed(Member& member, const std::string& reason) {
  member.connection = nullptr;
  member.timer->cancel();
  bool to_begin = false;
  if (std::exchange(member.ready, false)) {
    if (ready_-- == expected_) begin_ = Clock::now();
  } else {
    to_begin = member.credentials.joined() && member.attempts == 0;  // the certificate has come
  }
  if (to_begin) return attempt(member);
  if (member.left || member.muted) return;
  if (reason != last_reason_) say_("disconnected " + (last_reason_ = reason));
  member.timer->expires_after(retry_delay(backoff, std::max(member.attempts, 1U), share()));
  member.timer->async_wait([this, &member](const boost::system::error_code& code) {
    if (!code) attempt(member);
  });
}

inline void Swarm::beat(Member& member) {
  if (!member.ready || member.muted) return;
  if (Clock::now() - member.connection->last_heard() > 3 * heartbeat)
    return member.connection->close("the head was silent");
  member.connection->ping();
  member.timer->expires_after(
      std::chrono::milliseconds(static_cast<int>(heartbeat.count() * (0.9 + 0.2 * share()))));
  member.timer->async_wait([this, &member](const boost::system::error_code& code) {
    if (!code) beat(member);
  });
}

inline void Swarm::mute(size_t count) {
  for (size_t i = 0; i < count; ++i) members_[i].muted = true;
}

inline void Swarm::unmute() {
  for (Member& member : members_) {
    if (!std::exchange(member.muted, false)) continue;
    if (member.ready)
      beat(member);
    else
      attempt(member);
  }
}

inline void Swarm::leave(size_t count) {
  expected_ -= count;
  for (size_t i = expected_; i < members_.size(); ++i) {
    members_[i].left = true;
    if (members_[i].connection) members_[i].connection->close("this machine is shut down");
  }
}

}  // namespace rayctl::cluster
