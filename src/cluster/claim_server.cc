#include "cluster/claim_server.h"

#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "cluster/control_protocol.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr size_t max_connections = 256;  // workers knock here too while they wait
constexpr std::chrono::milliseconds accept_pause{200};

// A self-made certificate: TLS wants one, and nobody trusts it.
Credentials unclaimed_credentials(const std::string& directory) {
  Credentials made{.key = load_credentials(directory).key, .certificate = {}, .authority = {}, .root = {}};
  made.certificate = made.authority = make_unclaimed_certificate(made.key, wall_now());
  return made;
}

}  // namespace

struct ClaimServer::Impl : std::enable_shared_from_this<ClaimServer::Impl> {
  struct Session {
    ConnectionPtr connection = {};
    asio::steady_timer deadline;
    std::string address = {};
    bool greeted = false, proven = false;
  };
  using SessionPtr = std::shared_ptr<Session>;

  Impl(asio::io_context& io, std::string directory, Token token, const ServerConfig& config,
       std::function<void(const ClaimRecord&)> on_claimed)
      : io(io),
        directory(std::move(directory)),
        token(std::move(token)),
        config(config),
        on_claimed(std::move(on_claimed)),
        tls(TlsContext::Side::server, unclaimed_credentials(this->directory),
            PeerPolicy{.ca_pin = this->token.ca_pin, .role = MemberRole::admin}),
        pause(io) {}

  void start();
  void stop();
  void wait_accept();
  void accept_some();
  void take(Fd socket);
  void hello(const SessionPtr& session, const Json& hello);
  void refuse(const SessionPtr& session, const std::string& reason);
  void claim(const SessionPtr& session, const Json& body, const ChannelPtr& channel);

  asio::io_context& io;
  std::string directory;
  Token token;
  ServerConfig config;
  std::function<void(const ClaimRecord&)> on_claimed;
  TlsContext tls;
  asio::steady_timer pause;
  std::unique_ptr<asio::posix::stream_descriptor> listener = {};
  uint16_t port = 0;
  bool stopped = false;
  std::optional<ClaimRecord> claimed = {};
  std::map<Session*, SessionPtr> sessions = {};
};

void ClaimServer::Impl::start() {
  Fd socket = listen_on({config.listen_host, config.listen_port});
  port = port_of(socket.get());
  listener = std::make_unique<asio::posix::stream_descriptor>(io, socket.release());
  wait_accept();
}

void ClaimServer::Impl::stop() {
  stopped = true;
  on_claimed = nullptr;
  listener.reset();
  pause.cancel();
  for (const auto& [raw, session] : std::map(sessions)) {
    session->deadline.cancel();
    session->connection->close("the head's supervisor goes on as a cluster's");
  }
}

void ClaimServer::Impl::wait_accept() {
  if (!listener) return;
  listener->async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         if (!error && !self->stopped) self->accept_some();
                       });
}

void ClaimServer::Impl::accept_some() {
  while (listener) {
    Fd socket(sessions.size() < max_connections
                  ? accept4(listener->native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)
                  : -1);
    if (socket) {
      take(std::move(socket));
      continue;
    }
    if (sessions.size() < max_connections && errno == EAGAIN) return wait_accept();
    pause.expires_after(accept_pause);
    pause.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error && !self->stopped) self->wait_accept();
    });
    return;
  }
}

void ClaimServer::Impl::take(Fd socket) {
  tune_stream(socket.get());
  SessionPtr session(new Session{.deadline = asio::steady_timer(io)});
  std::weak_ptr<Impl> weak = weak_from_this();
  std::weak_ptr<Session> weak_session = session;
  auto with = [weak, weak_session](auto call) {
    auto self = weak.lock();
    if (auto locked = weak_session.lock(); self && locked) call(*self, locked);
  };
  Connection::Callbacks on;
  on.on_hello = [with](const Json& hello) {
    with([&](Impl& self, const SessionPtr& of) { self.hello(of, hello); });
  };
  on.on_request = [with](const Request& request, const ChannelPtr& channel) {
    with([&](Impl& self, const SessionPtr& of) {
      if (!of->proven || request.name != "claim")
        return channel->fail("this head has no cluster yet: it answers nothing but a claim");
      try {
        self.claim(of, request.body, channel);
      } catch (const std::exception& e) {  // the boundary of one request
        channel->fail(e.what());
      }
    });
  };
  on.on_closed = [with](const std::string& reason) {
    with([&](Impl& self, const SessionPtr& of) {
      debug("the connection from {} ended: {}", of->address, reason);
      self.sessions.erase(of.get());
    });
  };
  session->connection =
      Connection::start(io, std::move(socket), &tls, Connection::Origin::acceptor, Peer{}, std::move(on));
  session->address = session->connection->remote_address();
  sessions[session.get()] = session;
  session->deadline.expires_after(config.greeting_time);
  session->deadline.async_wait([weak_session](const boost::system::error_code& error) {
    auto locked = weak_session.lock();
    if (!error && locked) locked->connection->close("no claim came in time");
  });
}

void ClaimServer::Impl::refuse(const SessionPtr& session, const std::string& reason) {
  warn("a claim from {} was refused: {}", session->address, reason);
  session->connection->hello({{"protocol", protocol_version}, {"refused", reason}, {"final", true}});
  session->connection->close(reason);
}

void ClaimServer::Impl::hello(const SessionPtr& session, const Json& hello) {
  if (std::exchange(session->greeted, true)) throw Error("it greets twice");
  try {
    if (hello.at("protocol").size() != protocol_version)
      throw Error("cannot talk to version {} of rayctl: this head is another one",
                  printable(hello.string_or("version", "unknown")));
    // Its certificate was checked already: a member of the root's cluster, and an admin.
    if (!session->connection->certificate() || hello.at("kind").string() != "claim")
      throw Error("cannot open a stream: this head has no cluster yet, its operator must claim it first");
    check_clock(hello.at("time").integer(), "claim the head");
    std::string exporter = session->connection->exporter(claim_label);
    if (hello.at("token").at("id").string() != token.id ||
        !equal_secrets(hello.at("proof").string(), claim_proof(token, ClaimSide::operator_, exporter, "")))
      throw Error("cannot claim the head: the claim token isn't this head's");
    session->proven = true;
    std::string csr = Authority::request(directory);
    session->connection->admit(
        {.kind = Peer::Kind::admin, .id = {}, .label = "the operator at " + session->address});
    session->connection->hello({{"protocol", protocol_version},
                                {"version", version()},
                                {"csr", csr},
                                {"proof", claim_proof(token, ClaimSide::head, exporter, csr)}});
  } catch (const Error& e) {  // the boundary of one connection
    refuse(session, e.message());
  }
}

void ClaimServer::Impl::claim(const SessionPtr& session, const Json& body, const ChannelPtr& channel) {
  if (claimed) throw Error("cannot claim the head: it was claimed a moment ago");
  ClaimRecord record = parse_claim(body);
  WallTime now = wall_now();
  X509Ptr root = parse_certificate(body.at("root").string(), "root");
  if (spki_pin(root) != token.ca_pin) throw Error("cannot claim the head: the root isn't the token's");
  Authority::install(directory, parse_certificate(body.at("certificate").string(), "authority"), root,
                     record.cluster, now);
  record.when = now;
  // From here on the head has a cluster, whatever happens.
  replace_file(join(directory, "claim.json"), to_json(record).dump(2) + "\n", 0600);
  claimed = record;
  token = {};
  info("claimed by {} from {}", record.operator_name, session->address);
  channel->respond(nlohmann::json::object());
  // The answer first: whoever is told to go on closes this server.
  listener.reset();
  auto timer = std::make_shared<asio::steady_timer>(io, std::chrono::milliseconds(50));
  timer->async_wait([timer, self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && self->on_claimed) std::exchange(self->on_claimed, nullptr)(*self->claimed);
  });
}

ClaimServer::ClaimServer(asio::io_context& io, const std::string& directory, const Token& token,
                         const ServerConfig& config, std::function<void(const ClaimRecord&)> on_claimed)
    : impl_(std::make_shared<Impl>(io, directory, token, config, std::move(on_claimed))) {
  if (token.role != MemberRole::head)
    throw Error("cannot wait for a claim with this token: it is for role {}, not head",
                role_name(token.role));
}

ClaimServer::~ClaimServer() {
  impl_->stop();
}

void ClaimServer::start() {
  impl_->start();
}

uint16_t ClaimServer::port() const {
  return impl_->port;
}

}  // namespace rayctl::cluster
