#include "cluster/operator_client.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "cluster/context.h"
#include "cluster/control_connection.h"
#include "cluster/control_local.h"
#include "cluster/control_protocol.h"
#include "cluster/operator_dial.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

// Raw mode until the end of the scope.
class RawTerminal {
 public:
  explicit RawTerminal(int fd) : fd_(fd) {
    check(tcgetattr(fd_, &before_), "cannot use the terminal");
    termios raw = before_;
    cfmakeraw(&raw);
    check(tcsetattr(fd_, TCSADRAIN, &raw), "cannot use the terminal");
  }
  ~RawTerminal() { tcsetattr(fd_, TCSADRAIN, &before_); }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  int fd_;
  termios before_{};
};

// Reads an fd of the caller's into a channel. The fd stays as it is: O_NONBLOCK on a shell's terminal would
// outlive us.
class Feeder : public std::enable_shared_from_this<Feeder> {
 public:
  Feeder(asio::io_context& io, int fd, ChannelPtr channel) : channel_(std::move(channel)), descriptor_(io) {
    // epoll refuses regular files and devices like /dev/null, which are always ready. Asio hides that until
    // somebody waits.
    Fd probe(check(epoll_create1(EPOLL_CLOEXEC), "cannot use the input"));
    epoll_event event{};
    if (epoll_ctl(probe.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      if (errno != EPERM) throw SysError(errno, "cannot use the input");
      plain_ = fd;
      return;
    }
    Fd copy(check(fcntl(fd, F_DUPFD_CLOEXEC, 3), "cannot use the input"));
    descriptor_.assign(copy.get());
    copy.release();
  }
  void start() {
    channel_->on_writable([self = shared_from_this()] { self->feed(); });
    feed();
  }
  void stop() {
    stopped_ = true;
    boost::system::error_code ignored;
    descriptor_.close(ignored);
  }

 private:
  void feed() {
    if (stopped_ || waiting_ || channel_->closed() || channel_->writable() == 0) return;
    if (plain_ >= 0) {
      while (!stopped_ && channel_->writable() > 0) take(plain_);
      return;
    }
    waiting_ = true;
    descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                           [self = shared_from_this()](const boost::system::error_code& error) {
                             self->waiting_ = false;
                             if (error || self->stopped_) return;
                             self->take(self->descriptor_.native_handle());
                             self->feed();
                           });
  }

  void take(int fd) {
    std::array<char, 16 << 10> buffer;
    ssize_t size = read(fd, buffer.data(), std::min(buffer.size(), channel_->writable()));
    if (size < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (size <= 0) {
      channel_->end();
      return stop();
    }
    channel_->write({buffer.data(), static_cast<size_t>(size)});
  }

  ChannelPtr channel_;
  asio::posix::stream_descriptor descriptor_;
  int plain_ = -1;
  bool waiting_ = false, stopped_ = false;
};

// However run() ends, nothing is called later that refers to its variables, and nothing is read any more.
struct RunEnd {
  asio::io_context& io;
  ChannelPtr channel;
  asio::signal_set& signals;
  std::shared_ptr<Feeder> feeder = {};

  ~RunEnd() {
    try {
      signals.cancel();
      if (feeder) feeder->stop();
      channel->on_data(nullptr);
      channel->cancel("the client gave up");
      io.restart();
      io.poll();
    } catch (const std::exception& e) {
      debug("the end of a request: {}", e.what());
    }
  }
};

}  // namespace

struct OperatorClient::Impl {
  asio::io_context io;
  ConnectionPtr connection;

  ~Impl() {
    if (connection) connection->close("");
    connection.reset();
    // What closing queued; nothing waits longer than this.
    io.restart();
    io.run_for(std::chrono::milliseconds(100));
  }
};

OperatorClient::OperatorClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OperatorClient::OperatorClient(OperatorClient&&) noexcept = default;
OperatorClient& OperatorClient::operator=(OperatorClient&&) noexcept = default;
OperatorClient::~OperatorClient() = default;

OperatorClient OperatorClient::local(const std::string& run_dir) {
  std::string path = control_socket_path(run_dir);
  // Someone of group rayctl, on a machine whose supervisor is root's.
  if (!exists(path) && run_dir == default_paths().run_dir)
    if (std::string systems = control_socket_path(system_run_dir); exists(systems)) path = systems;
  sockaddr_un address = unix_address(path);
  Fd socket(check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "cannot make a socket"));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    int code = errno;
    if (code == ENOENT || code == ECONNREFUSED)
      throw Error(
          "cannot reach the supervisor at '{}': none runs here (start one: rayctl node --role head|worker …, "
          "or name its --run-dir; for a cluster elsewhere: --context NAME, see rayctl context ls)",
          path);
    if (code == EACCES)
      throw Error(
          "cannot reach the supervisor at '{}': permission denied (use sudo, or join the group rayctl: sudo "
          "usermod "
          "-aG rayctl $USER)",
          path);
    throw SysError(code, "cannot reach the supervisor at '{}'", path);
  }
  int flags = fcntl(socket.get(), F_GETFL);
  check(fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK), "cannot use '{}'", path);
  auto impl = std::make_unique<Impl>();
  impl->connection =
      Connection::start(impl->io, std::move(socket), nullptr, Connection::Origin::connector,
                        Peer{.kind = Peer::Kind::head, .id = {}, .label = "the supervisor"}, {});
  return OperatorClient(std::move(impl));
}

boost::asio::io_context& OperatorClient::io() {
  return impl_->io;
}

const ConnectionPtr& OperatorClient::connection() const {
  return impl_->connection;
}

OperatorClient OperatorClient::dial(Context& context, std::chrono::milliseconds timeout) {
  renew_locally(context);
  if (CertificateInfo info = context.identity(); wall_now() - max_clock_skew > info.not_after)
    throw Error(
        "cannot use context '{}': its certificate has expired (ask an admin of the cluster for a new one: "
        "rayctl operators add NAME, or rayctl token create --role operator)",
        context.name);
  auto impl = std::make_unique<Impl>();
  TlsContext tls(TlsContext::Side::client, context.credentials(), {.role = MemberRole::head});
  Dialed dialed = dial_head(
      impl->io, parse_host_port(context.head, default_control_port), tls,
      [](const Connection&) { return operator_greeting("operator"); }, timeout);
  impl->connection = dialed.connection;
  OperatorClient client(std::move(impl));
  if (std::string csr = renewal_request(context); !csr.empty()) {
    try {
      Json answer = client.request("operator.renew", {{"csr", csr}});
      take_renewal(context, answer.at("certificate").string());
    } catch (const Error& e) {  // the old one is good for a while
      warn("the certificate of context '{}' was not renewed: {}", context.name, e.message());
    }
  }
  return client;
}

Json OperatorClient::request(std::string_view name, const nlohmann::json& body,
                             std::optional<std::chrono::milliseconds> timeout) {
  std::optional<Reply> reply;
  impl_->connection
      ->request(
          name, body, [&](const Reply& answer) { reply = answer; }, timeout)
      ->end();
  impl_->io.restart();
  while (!reply && impl_->io.run_one() > 0) {
  }
  if (!reply) throw Error("cannot {}: the connection was closed", name);
  return reply->value();
}

Json OperatorClient::run(std::string_view name, const nlohmann::json& body, const RequestStreams& streams) {
  std::optional<Reply> reply;
  std::exception_ptr sink_failed;
  asio::io_context& io = impl_->io;
  ChannelPtr channel = impl_->connection->request(name, body, [&](const Reply& answer) { reply = answer; });
  channel->on_data([&](std::string_view bytes, Lane lane) {
    const Sink& sink = lane == Lane::main ? streams.out : streams.err;
    // The sink's own error is what the caller must see, not the channel's.
    try {
      if (sink) sink(as_bytes(bytes));
      channel->consumed(bytes.size());
    } catch (...) {
      sink_failed = std::current_exception();
      channel->cancel("the client's output failed");
    }
  });

  bool raw = streams.terminal == RequestStreams::Terminal::raw && streams.in >= 0 && isatty(streams.in) == 1;
  std::optional<RawTerminal> terminal;
  if (raw) terminal.emplace(streams.in);
  auto send_size = [&] {
    winsize size{};
    if (raw && ioctl(streams.in, TIOCGWINSZ, &size) == 0)
      channel->write_event({{"resize", {size.ws_row, size.ws_col}}});
  };
  asio::signal_set signals(io, SIGINT, SIGTERM);
  if (raw) signals.add(SIGWINCH);
  bool interrupted = false;
  unsigned count = 0;
  std::function<void()> wait_signal = [&] {
    signals.async_wait([&](const boost::system::error_code& error, int number) {
      if (error) return;
      if (number == SIGWINCH) {
        send_size();
      } else if (++count >= 3) {
        terminal.reset();
        _exit(static_cast<int>(ExitCode::interrupted));
      } else if (streams.signals == RequestStreams::Signals::forward) {
        channel->write_event({{"signal", number == SIGINT ? "INT" : "TERM"}});
      } else {
        interrupted = true;
        channel->cancel("interrupted");
      }
      wait_signal();
    });
  };
  {
    RunEnd at_end{io, channel, signals};
    wait_signal();
    send_size();
    if (streams.in >= 0) {
      at_end.feeder = std::make_shared<Feeder>(io, streams.in, channel);
      at_end.feeder->start();
    } else {
      channel->end();
    }
    io.restart();
    while (!reply && io.run_one() > 0) {
    }
  }
  if (sink_failed) std::rethrow_exception(sink_failed);
  if (interrupted) throw Interrupted();
  if (!reply) throw Error("cannot {}: the connection was closed", name);
  return reply->value();
}

}  // namespace rayctl::cluster
