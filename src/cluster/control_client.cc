#include "cluster/control_client.h"

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "cluster/cluster_state.h"
#include "cluster/control_client_impl.h"
#include "cluster/control_protocol.h"
#include "net/node_network.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

// In [0, 1), for jitter.
double random_share() {
  std::string bytes = random_bytes(4);
  uint32_t value = 0;
  for (unsigned char byte : bytes) value = (value << 8) | byte;
  return value / 4294967296.0;
}

}  // namespace

ControlClient::Impl::Impl(asio::io_context& io, const Paths& paths, const ClientConfig& config,
                          RequestTable& requests, ClientCallbacks callbacks)
    : io(io),
      config(config),
      head(config.head),
      directory(cluster_directory(paths)),
      instance(hex(random_bytes(8))),
      requests(requests),
      callbacks(std::move(callbacks)),
      retry_timer(io),
      deadline(io),
      beat_timer(io),
      flush_timer(io),
      save_timer(io),
      renewal_point(random_share()) {
  if (ClusterState::cluster_of(paths))
    throw Error(
        "cannot join a cluster with '{}': this machine is the head of one (leave it with: rayctl node reset)",
        paths.state_dir);
  credentials = load_credentials(directory);
  id = cluster::node_id(credentials.key);
  if (credentials.joined()) {
    CertificateInfo info = certificate_info(credentials.certificate);
    const auto& token = this->config.token;
    if (token && token->ca_pin != spki_pin(credentials.authority))
      throw Error(
          "cannot join with this token: this machine belongs to another cluster (leave that with: rayctl "
          "node reset)");
    // Away for longer than certificates last: the key is the same, so the node is, but it needs a token like
    // a new one.
    if (wall_now() > info.not_after) {
      if (!token)
        throw Error(
            "cannot return to the cluster: this node's certificate has expired (on the head: rayctl token "
            "create "
            "--role worker; here: --token-file FILE)");
      credentials.certificate = nullptr;
    }
  }
  if (!credentials.joined() && !this->config.token)
    throw Error(
        "cannot join a cluster without a token (on the head: rayctl token create --role worker --ttl 1h "
        "--uses 1; "
        "here: --token-file FILE, or RAYCTL_TOKEN)");
  if (!credentials.joined() && this->config.token->role != MemberRole::worker)
    throw Error("cannot join as worker: the token is for role {}", role_name(this->config.token->role));
  this->config.facts.id = id;
  this->config.facts.role = MemberRole::worker;
  load_view();
}

void ControlClient::Impl::stop() {
  stopped = true;
  callbacks = {};
  resolving_stop = true;
  if (resolver.joinable()) resolver.join();
  for (auto* timer : {&retry_timer, &deadline, &beat_timer, &flush_timer, &save_timer}) timer->cancel();
  if (!view_saved) save_view();
  if (connection) connection->close("the node's supervisor stops");
}

void ControlClient::Impl::attempt() {
  if (stopped || was_refused) return;
  ++attempts;
  if (resolver.joinable()) resolver.join();
  resolver = std::thread([weak = weak_from_this(), head = head, &io = io, &stop = resolving_stop] {
    std::vector<SocketAddress> found;
    std::string error;
    try {
      found = resolve(head, stop);
    } catch (const std::exception& e) {  // the boundary of the thread: the loop gets the text
      error = e.what();
    }
    if (stop) return;
    asio::post(io, [weak, found = std::move(found), error = std::move(error)]() mutable {
      if (auto self = weak.lock()) self->resolved(std::move(found), error);
    });
  });
}

void ControlClient::Impl::resolved(std::vector<SocketAddress> found, const std::string& why_not) {
  if (stopped) return;
  addresses = std::move(found);
  if (!why_not.empty()) error = why_not;  // until it is connected, the last reason is the one to show
  try_next();
}

void ControlClient::Impl::try_next() {
  if (stopped || was_refused) return;
  if (addresses.empty()) return again(error);
  SocketAddress address = addresses.front();
  addresses.erase(addresses.begin());
  try {
    connect(address);
  } catch (const Error& e) {  // this address can't be used: perhaps another one
    error = e.message();
    try_next();
  }
}

void ControlClient::Impl::connect(const SocketAddress& address) {
  joining = !credentials.joined();
  PeerPolicy policy{.role = MemberRole::head};
  if (joining) policy.ca_pin = config.token->ca_pin;
  TlsContext tls(TlsContext::Side::client, credentials, policy);
  std::weak_ptr<Impl> weak = weak_from_this();
  Connection::Callbacks on;
  on.on_open = [weak] {
    if (auto self = weak.lock()) self->opened();
  };
  on.on_hello = [weak](const Json& hello) {
    if (auto self = weak.lock()) self->hello(hello);
  };
  on.on_request = [weak](const Request& request, const ChannelPtr& channel) {
    if (auto self = weak.lock()) self->requests.dispatch(request, channel);
  };
  on.on_notify = [weak](const std::string& name, const Json& body) {
    if (auto self = weak.lock()) self->notify(name, body);
  };
  on.on_closed = [weak](const std::string& reason) {
    if (auto self = weak.lock()) self->closed(reason);
  };
  connection = Connection::start(io, begin_connect(address, segment), &tls, Connection::Origin::connector,
                                 Peer{}, std::move(on));
  deadline.expires_after(config.connect_time);
  deadline.async_wait([weak, this_one = connection](const boost::system::error_code& code) {
    auto self = weak.lock();
    if (code || !self || self->connection != this_one || self->ready_for_use) return;
    if (!this_one->remote_address().empty()) self->stood_still();
    this_one->close(fmt::format("no answer within {} s", self->config.connect_time.count()));
  });
}

nlohmann::json ControlClient::Impl::greeting(std::string_view kind) const {
  NodeFacts facts = config.facts;
  if (facts.underlay.empty()) facts.underlay = connection->local_address();
  return {{"protocol", protocol_version},
          {"version", version()},
          {"kind", kind},
          {"time", wall_now().time_since_epoch().count()},
          {"node", to_json(facts)}};
}

void ControlClient::Impl::opened() {
  if (joining) {
    nlohmann::json hello = greeting("join");
    hello["role"] = role_name(MemberRole::worker);
    hello["token"] = {{"id", config.token->id}, {"secret", config.token->secret}};
    hello["csr"] = make_csr(credentials.key);
    return connection->hello(hello);
  }
  nlohmann::json hello = greeting("node");
  hello["instance"] = instance;
  hello["cluster"] = view.cluster.id;
  hello["state"] = view.version;
  hello["packs"] = true;
  connection->hello(hello);
}

void ControlClient::Impl::closed(const std::string& reason) {
  if (stopped) return;
  bool was_ready = std::exchange(ready_for_use, false), was_joining = joining;
  Refusal why = connection ? connection->refused_certificate() : Refusal::none;
  ConnectionPtr ended = std::exchange(connection, nullptr);
  deadline.cancel();
  beat_timer.cancel();
  if (was_refused) return;
  // The CA that the token names isn't there: whoever answers must not get the token, now or later.
  if (was_joining && why == Refusal::foreign)
    return refused(fmt::format("cannot join by {}: {}", format_host_port(head), reason));
  if (was_joining && credentials.joined()) {
    // The certificate has come: now the stream proper.
    attempts = 0;
    return attempt();
  }
  error = reason;
  // A head that waits for its operator: that may be any moment now.
  if (why == Refusal::unclaimed) attempts = std::min(attempts, 3U);
  if (was_ready) {
    if (standing_still) stood_still();
    attempts = 0;
    if (callbacks.on_disconnected) callbacks.on_disconnected(reason);
    return again(reason);
  }
  try_next();
}

// A path that drops large packets and says nothing looks the same as a cut: small ones are tried after the
// one, the usual ones after those, and what works stays.
void ControlClient::Impl::stood_still() {
  standing_still = false;
  segment = segment == usual_segment ? least_segment : usual_segment;
  debug("the stream to the head stood still: the next one has packets of at most {} bytes", segment + 40);
}

void ControlClient::Impl::again(const std::string& reason) {
  if (stopped || was_refused) return;
  error = reason;
  tell_unreachable(reason);
  // It starts without the head from what it knew last.
  if (!announced && attempts >= 1 && self_in_view()) announce({});
  auto wait =
      retry_delay(for_cluster(config.backoff, view.nodes.size()), std::max(attempts, 1U), random_share());
  retry_timer.expires_after(wait);
  retry_timer.async_wait([weak = weak_from_this()](const boost::system::error_code& code) {
    auto self = weak.lock();
    if (!code && self) self->attempt();
  });
}

void ControlClient::Impl::tell_unreachable(const std::string& reason) {
  auto now = Clock::now();
  bool first = unreachable_since == Clock::time_point{};
  if (first) unreachable_since = now;
  if (!first && now - unreachable_told < std::chrono::minutes(1)) return;
  unreachable_told = now;
  if (first)
    warn("the head {} can't be reached: {} (trying again; what runs here goes on)", format_host_port(head),
         reason);
  else
    warn("the head {} can't be reached for {}: {}", format_host_port(head),
         human_duration(now - unreachable_since), reason);
}

void ControlClient::Impl::refused(const std::string& reason) {
  was_refused = true;
  error = reason;
  if (connection) connection->close("");
  if (callbacks.on_refused) callbacks.on_refused(reason);
}

ControlClient::ControlClient(asio::io_context& io, const Paths& paths, const ClientConfig& config,
                             RequestTable& requests, ClientCallbacks callbacks)
    : impl_(std::make_shared<Impl>(io, paths, config, requests, std::move(callbacks))) {}

ControlClient::~ControlClient() {
  impl_->stop();
}

void ControlClient::start() {
  impl_->attempt();
}
const std::string& ControlClient::node_id() const {
  return impl_->id;
}
bool ControlClient::connected() const {
  return impl_->ready_for_use;
}
bool ControlClient::joined() const {
  return impl_->credentials.joined();
}
const ClusterView& ControlClient::view() const {
  return impl_->view;
}
const Node* ControlClient::self() const {
  return impl_->self_in_view();
}
std::string ControlClient::last_error() const {
  return impl_->ready_for_use ? "" : impl_->error;
}

ChannelPtr ControlClient::request(std::string_view name, const nlohmann::json& body, Completion completion,
                                  std::optional<std::chrono::milliseconds> timeout) {
  if (impl_->ready_for_use) return impl_->connection->request(name, body, std::move(completion), timeout);
  std::string reason =
      fmt::format("the head {} is not connected: {}", format_host_port(impl_->head), impl_->error);
  asio::post(impl_->io, [completion = std::move(completion), reason] { completion({.error = reason}); });
  return nullptr;
}

void ControlClient::report(const nlohmann::json& report) {
  impl_->report = nlohmann::json{{"name", "report"}, {"body", report}}.dump();
  impl_->report_sent = false;
  impl_->flush_soon();
}

void ControlClient::set_names(const ContainerNames& names) {
  impl_->names = names;
  impl_->names_sent = false;
  impl_->flush_soon();
}

void ControlClient::set_facts(const NodeFacts& facts) {
  impl_->config.facts = facts;
  impl_->config.facts.id = impl_->id;
  impl_->config.facts.role = MemberRole::worker;
  impl_->facts_sent = false;
  impl_->flush_soon();
  // A stream from an address that this machine hasn't any more is dead, and would notice it late.
  if (!impl_->ready_for_use) return;
  std::string local = impl_->connection->local_address();
  if (!local.empty() && !net::has_address(net::parse_address(local)))
    impl_->connection->close("this machine has another address now");
}

}  // namespace rayctl::cluster
