#include "cluster/port_forward.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "cluster/control_address.h"
#include "cluster/control_connection.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr size_t max_first_bytes = 64 << 10;
constexpr size_t max_local = 256;  // connections
constexpr std::chrono::seconds first_bytes_time{30};

// One local connection and its channel.
class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  struct Shared {
    asio::io_context& io;
    ConnectionPtr head;
    nlohmann::json dial;
    Gate gate;
    std::function<std::string(const std::string&)> refused;
    std::set<std::shared_ptr<Bridge>> open = {};
  };
  Bridge(std::shared_ptr<Shared> shared, Fd socket)
      : shared_(std::move(shared)), socket_(shared_->io, socket.release()), deadline_(shared_->io) {}

  void start() {
    if (!shared_->gate) return dial("");
    deadline_.expires_after(first_bytes_time);
    deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error && !self->channel_) self->close();
    });
    read_soon();
  }

  void close() {
    if (closed_) return;
    closed_ = true;
    deadline_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
    if (channel_) std::exchange(channel_, nullptr)->cancel("the local connection was closed");
    auto self = shared_from_this();
    shared_->open.erase(self);
  }

 private:
  void dial(const std::string& first) {
    deadline_.cancel();
    auto self = shared_from_this();
    channel_ = shared_->head->request("dial", shared_->dial, [self](const Reply& reply) {
      self->channel_ = nullptr;
      if (!reply.ok()) {
        debug("a local connection ended: {}", reply.error);
        if (!self->answered_ && self->shared_->refused) self->out_ += self->shared_->refused(reply.error);
      }
      self->last_ = true;
      self->write_out();
    });
    channel_->on_data([self](std::string_view bytes, Lane) {
      self->answered_ = true;
      self->out_ += bytes;
      self->write_out();
    });
    channel_->on_writable([self] { self->send_on(); });
    waiting_ = first;
    send_on();
  }

  // What the gate let through, then what comes.
  void send_on() {
    if (!channel_) return;
    size_t size = std::min(waiting_.size(), channel_->writable());
    channel_->write(std::string_view(waiting_).substr(0, size));
    waiting_.erase(0, size);
    if (waiting_.empty()) read_soon();
  }

  void read_soon() {
    if (closed_ || reading_ || in_ended_) return;
    reading_ = true;
    socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const boost::system::error_code& error) {
                         self->reading_ = false;
                         if (!error && !self->closed_) self->read_some();
                       });
  }

  void read_some() {
    std::array<char, max_data_size> buffer;
    bool gated = shared_->gate && !channel_ && !last_;
    size_t room = gated ? buffer.size() : channel_ ? std::min(buffer.size(), channel_->writable()) : 0;
    if (room == 0) return;  // on_writable comes, or nobody wants it
    ssize_t size = recv(socket_.native_handle(), buffer.data(), room, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return read_soon();
    if (size <= 0) {
      in_ended_ = true;
      if (gated || size < 0) return close();
      return channel_->end();
    }
    std::string_view bytes(buffer.data(), static_cast<size_t>(size));
    if (!gated) {
      channel_->write(bytes);
      return read_soon();
    }
    waiting_ += bytes;
    GateVerdict verdict = shared_->gate(waiting_);
    if (verdict.kind == GateVerdict::Kind::pass) return dial(verdict.bytes);
    if (verdict.kind == GateVerdict::Kind::answer) {
      out_ = verdict.bytes;
      last_ = true;
      return write_out();
    }
    if (waiting_.size() >= max_first_bytes) return close();
    read_soon();
  }

  void write_out() {
    if (closed_ || writing_) return;
    while (!out_.empty()) {
      ssize_t size = send(socket_.native_handle(), out_.data(), out_.size(), MSG_NOSIGNAL);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) {
        writing_ = true;
        socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                           [self = shared_from_this()](const boost::system::error_code& error) {
                             self->writing_ = false;
                             if (!error) self->write_out();
                           });
        return;
      }
      if (size < 0) return close();
      out_.erase(0, static_cast<size_t>(size));
      if (channel_) channel_->consumed(static_cast<size_t>(size));
    }
    if (last_) close();
  }

  std::shared_ptr<Shared> shared_;
  asio::posix::stream_descriptor socket_;
  asio::steady_timer deadline_;
  ChannelPtr channel_ = {};
  std::string waiting_, out_;  // towards the head; towards the client: bounded by the channel's window
  bool closed_ = false, reading_ = false, writing_ = false, in_ended_ = false, answered_ = false,
       last_ = false;  // nothing comes after what is in out_
};

void accept_all(const std::shared_ptr<Bridge::Shared>& shared, asio::posix::stream_descriptor& listener) {
  listener.async_wait(
      asio::posix::stream_descriptor::wait_read, [shared, &listener](const boost::system::error_code& error) {
        if (error) return;
        while (true) {
          Fd socket(accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
          if (!socket) break;
          if (shared->open.size() >= max_local) continue;
          auto bridge = std::make_shared<Bridge>(shared, std::move(socket));
          shared->open.insert(bridge);
          bridge->start();
        }
        accept_all(shared, listener);
      });
}

}  // namespace

Fd listen_locally(uint16_t port) {
  Fd socket(check(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "cannot make a socket"));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw SysError(errno, "cannot listen on '127.0.0.1:{}'", port);
  check(listen(socket.get(), 128), "cannot listen on '127.0.0.1:{}'", port);
  return socket;
}

void forward_port(OperatorClient& client, Fd listener, const nlohmann::json& dial, const Gate& gate,
                  const std::function<std::string(const std::string& error)>& refused) {
  asio::io_context& io = client.io();
  std::shared_ptr<Bridge::Shared> shared(new Bridge::Shared{io, client.connection(), dial, gate, refused});
  asio::posix::stream_descriptor accepting(io, listener.release());
  asio::signal_set signals(io, SIGINT, SIGTERM);
  bool ended = false;
  signals.async_wait([&](const boost::system::error_code& error, int) { ended = !error; });
  accept_all(shared, accepting);
  io.restart();
  while (!ended && !shared->head->closed()) {
    io.run_one_for(std::chrono::seconds(1));
    if (io.stopped()) io.restart();
  }
  boost::system::error_code ignored;
  accepting.close(ignored);
  signals.cancel();
  for (const auto& bridge : std::set(shared->open)) bridge->close();
  io.restart();
  io.poll();
  if (!ended) throw Error("the connection to the head was lost");
}

}  // namespace rayctl::cluster
