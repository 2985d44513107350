#include "cluster/control_connection.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cluster/control_address.h"
#include "cluster/control_pack.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

constexpr size_t read_turn = 256 << 10;   // bytes of one connection before the others have their turn
constexpr size_t output_turn = 32 << 10;  // channel data that is encoded ahead of the socket
constexpr size_t max_queue = 8 << 20;     // control frames for a peer that doesn't read
constexpr size_t max_channels = 512;      // opened by the other side
constexpr std::chrono::seconds goodbye_time{2};

}  // namespace

struct Connection::Socket {
  asio::posix::stream_descriptor descriptor;
  std::optional<TlsSession> tls;
  enum class Phase { connecting, handshake, open } phase;
  bool is_tcp = false;

  Socket(asio::io_context& io, int fd) : descriptor(io, fd) {}

  std::string address(int (*of)(int, sockaddr*, socklen_t*)) {
    sockaddr_storage found{};
    socklen_t size = sizeof found;
    int rc = of(descriptor.native_handle(), reinterpret_cast<sockaddr*>(&found), &size);
    return rc == 0 ? format_address(found) : "";
  }

  // Like TlsSession's, for a plain socket.
  TlsSession::Moved moved(ssize_t count, std::string_view doing) {
    if (count > 0) return {IoStatus::done, static_cast<size_t>(count)};
    if (count == 0) return {IoStatus::closed, 0};
    if (errno == EAGAIN || errno == EINTR)
      return {doing == "read" ? IoStatus::want_read : IoStatus::want_write, 0};
    if (errno == ECONNRESET || errno == EPIPE) return {IoStatus::closed, 0};
    int code = errno;
    throw SysError(code, "cannot {}", doing);
  }
  TlsSession::Moved read(std::span<char> buffer) {
    if (tls) return tls->read(buffer);
    return moved(::recv(descriptor.native_handle(), buffer.data(), buffer.size(), 0), "read");
  }
  TlsSession::Moved write(std::string_view bytes) {
    if (tls) return tls->write(bytes);
    return moved(::send(descriptor.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL), "write");
  }
};

Connection::Connection(asio::io_context& io, Fd fd, const TlsContext* tls, Origin origin, Peer peer,
                       Callbacks callbacks)
    : io_(io),
      socket_(std::make_unique<Socket>(io, fd.get())),
      origin_(origin),
      peer_(std::move(peer)),
      callbacks_(std::move(callbacks)),
      next_channel_(origin == Origin::connector ? 1 : 2),
      last_heard_(std::chrono::steady_clock::now()) {
  fd.release();
  if (tls) socket_->tls.emplace(*tls, socket_->descriptor.native_handle());
  socket_->is_tcp = tls != nullptr;
  socket_->phase = tls && origin == Origin::connector ? Socket::Phase::connecting
                   : tls                              ? Socket::Phase::handshake
                                                      : Socket::Phase::open;
  greeted_ = peer_.kind != Peer::Kind::anonymous;
  if (!greeted_) reader_.limit(max_greeting_size);
}

// The loop ends with connections still open: callbacks that hold their own channel would keep it for ever.
Connection::~Connection() {
  for (const auto& [id, channel] : std::exchange(channels_, {})) channel->abandon();
}

ConnectionPtr Connection::start(asio::io_context& io, Fd fd, const TlsContext* tls, Origin origin, Peer peer,
                                Callbacks callbacks) {
  ConnectionPtr made(new Connection(io, std::move(fd), tls, origin, std::move(peer), std::move(callbacks)));
  made->later([made] { made->begin(); });
  return made;
}

void Connection::later(std::function<void()> call) {
  asio::post(io_, [keep = shared_from_this(), call = std::move(call)] { call(); });
}

// Runs what reads the other side's bytes: a violation of the protocol or a failed system call ends the
// connection.
template <class F>
void Connection::guarded(F&& call) {
  try {
    call();
  } catch (const std::exception& e) {
    fail(e.what());
  }
}

void Connection::begin() {
  if (closed_) return;
  if (socket_->phase == Socket::Phase::open) {
    open_ = true;
    if (auto callback = callbacks_.on_open) callback();
    wait_readable();
    wake_writer();
  } else if (socket_->phase == Socket::Phase::connecting) {
    wait_writable();
  } else {
    advance();
  }
}

void Connection::wait_readable() {
  if (closed_ || reading_) return;
  reading_ = true;
  socket_->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                 [self = shared_from_this()](const boost::system::error_code& error) {
                                   self->reading_ = false;
                                   if (!error) self->advance();
                                 });
}

void Connection::wait_writable() {
  if (closed_ || writing_) return;
  writing_ = true;
  socket_->descriptor.async_wait(asio::posix::stream_descriptor::wait_write,
                                 [self = shared_from_this()](const boost::system::error_code& error) {
                                   self->writing_ = false;
                                   if (!error) self->advance();
                                 });
}

void Connection::advance() {
  if (closed_) return;
  guarded([this] {
    if (!open_ && !advance_handshake()) return;
    read_some();
    if (!closed_) write_some();
  });
}

bool Connection::advance_handshake() {
  if (socket_->phase == Socket::Phase::connecting) {
    int code = 0;
    socklen_t size = sizeof code;
    getsockopt(socket_->descriptor.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size);
    if (code != 0) {
      shut(SysError::describe(code));
      return false;
    }
    socket_->phase = Socket::Phase::handshake;
  }
  if (callbacks_.on_http && !looked_at_ && wants_http()) return false;
  switch (socket_->tls->handshake()) {
    case IoStatus::want_read:
      wait_readable();
      return false;
    case IoStatus::want_write:
      wait_writable();
      return false;
    case IoStatus::closed:
      shut("it closed the connection before the TLS handshake was done");
      return false;
    case IoStatus::done:
      break;
  }
  socket_->phase = Socket::Phase::open;
  open_ = true;
  last_heard_ = std::chrono::steady_clock::now();
  if (auto callback = callbacks_.on_open) callback();
  return !closed_;
}

// The first byte tells: TLS begins with 22. True: this is no TLS connection, or nothing came yet.
bool Connection::wants_http() {
  char first = 0;
  ssize_t n = ::recv(socket_->descriptor.native_handle(), &first, 1, MSG_PEEK);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    wait_readable();
    return true;
  }
  looked_at_ = true;
  if (n != 1 || (first != 'G' && first != 'H')) return false;
  Fd socket{fcntl(socket_->descriptor.native_handle(), F_DUPFD_CLOEXEC, 3)};
  if (socket) callbacks_.on_http(std::move(socket));
  shut("it spoke HTTP");
  return true;
}

void Connection::read_some() {
  std::array<char, max_data_size> scratch;  // as much as a TLS record holds; no buffer per connection
  size_t total = 0;
  while (!closed_) {
    TlsSession::Moved got = socket_->read(scratch);
    if (got.status == IoStatus::closed)
      return shut(goodbye_.empty() ? "the connection was closed" : goodbye_);
    if (got.status == IoStatus::want_write) return wait_writable();
    if (got.status == IoStatus::want_read) return wait_readable();
    last_heard_ = std::chrono::steady_clock::now();
    reader_.append({scratch.data(), got.size});
    while (!closed_) {
      std::optional<Frame> frame = reader_.next();
      if (!frame) break;
      receive(*frame);
    }
    total += got.size;
    // TLS may hold decrypted bytes that epoll knows nothing of: after a full turn, come back without waiting.
    if (total >= read_turn) return later([this] { advance(); });
  }
}

void Connection::receive(const Frame& frame) {
  if (closing_) return;
  if (!greeted_ && frame.type != FrameType::hello && frame.type != FrameType::goodbye)
    throw Error("it didn't begin with a greeting");
  switch (frame.type) {
    case FrameType::hello: {
      Json hello = Json::parse(frame.payload, "hello", 16);
      greeted_ = true;
      if (auto callback = callbacks_.on_hello) callback(hello);
      return;
    }
    case FrameType::ping:
      return send(FrameType::pong, 0, "");
    case FrameType::pong:
      if (auto callback = callbacks_.on_pong) callback();
      return;
    case FrameType::notify: {
      if (auto first = callbacks_.on_notify_encoded; first && first(frame.payload)) return;
      Json message = Json::parse(unpack(frame.payload, max_message_size), "notify", 32);
      if (auto callback = callbacks_.on_notify) callback(message.at("name").string(), message.at("body"));
      return;
    }
    case FrameType::goodbye:
      goodbye_ = printable(frame.payload);
      return shut(goodbye_.empty() ? "the other side closed the connection" : goodbye_);
    case FrameType::request:
      return open_channel(frame);
    default:
      break;
  }
  auto found = channels_.find(frame.channel);
  bool ours = (frame.channel % 2 == 1) == (origin_ == Origin::connector);
  if (found == channels_.end()) {
    // What crossed our answer or cancel on its way.
    if (frame.channel != 0 && (ours ? frame.channel < next_channel_ : frame.channel <= last_opened_)) return;
    throw Error("a frame for channel {}, which was never opened", frame.channel);
  }
  ChannelPtr channel = found->second;
  switch (frame.type) {
    case FrameType::response:
      if (!ours) throw Error("an answer to its own request {}", frame.channel);
      return channel->finish({.body = Json::parse(frame.payload, "answer", 64)});
    case FrameType::failure:
      if (!ours) throw Error("an answer to its own request {}", frame.channel);
      return channel->finish({.error = printable(frame.payload)});
    case FrameType::cancel:
      return channel->finish({.error = printable(frame.payload)});
    default:
      return channel->receive(frame);
  }
}

void Connection::open_channel(const Frame& frame) {
  bool ours = (frame.channel % 2 == 1) == (origin_ == Origin::connector);
  if (frame.channel == 0 || ours || frame.channel <= last_opened_)
    throw Error("a request on channel {}, which isn't free", frame.channel);
  if (channels_.size() >= max_channels) throw Error("more than {} requests at once", max_channels);
  Json message = Json::parse(frame.payload, "request", 64);
  last_opened_ = frame.channel;
  auto channel = std::make_shared<Channel>(weak_from_this(), frame.channel, Channel::Side::answers);
  channels_[frame.channel] = channel;
  Request request{message.at("name").string(), message.at("body"), peer_, shared_from_this()};
  if (auto callback = callbacks_.on_request)
    callback(request, channel);
  else
    channel->fail("cannot answer: this side takes no requests");
}

ChannelPtr Connection::request(std::string_view name, const nlohmann::json& body, Completion completion,
                               std::optional<std::chrono::milliseconds> timeout) {
  auto channel = std::make_shared<Channel>(weak_from_this(), next_channel_, Channel::Side::asks);
  std::string text = nlohmann::json{{"name", name}, {"body", body}}.dump();
  if (closed_ || closing_ || text.size() > max_request_size) {
    std::string reason = closed_ || closing_
                             ? "the connection is closed"
                             : fmt::format("the request is larger than {} bytes", max_request_size);
    channel->state_ = Channel::State::closed;
    later([completion = std::move(completion), reason] { completion({.error = reason}); });
    return channel;
  }
  next_channel_ += 2;
  channels_[channel->id()] = channel;
  if (timeout) {
    auto timer = std::make_shared<asio::steady_timer>(io_, *timeout);
    timer->async_wait([weak = std::weak_ptr<Channel>(channel), timeout = *timeout,
                       name = std::string(name)](const boost::system::error_code& error) {
      auto waiting = weak.lock();
      if (!error && waiting)
        waiting->cancel(fmt::format("no answer to '{}' within {}", name, human_duration(timeout)));
    });
    channel->completion_ = [timer, completion = std::move(completion)](const Reply& reply) {
      timer->cancel();
      completion(reply);
    };
  } else {
    channel->completion_ = std::move(completion);
  }
  send(FrameType::request, channel->id(), text);
  return channel;
}

void Connection::hello(const nlohmann::json& body) {
  send(FrameType::hello, 0, body.dump());
}

void Connection::notify(std::string_view name, const nlohmann::json& body) {
  notify_encoded(nlohmann::json{{"name", name}, {"body", body}}.dump());
}

void Connection::notify_encoded(std::string_view payload) {
  send(FrameType::notify, 0, payload);
}

void Connection::ping() {
  send(FrameType::ping, 0, "");
}

void Connection::send(FrameType type, uint32_t channel, std::string_view payload) {
  if (closed_ || closing_) return;
  append_frame(control_out_, type, channel, payload);
  if (control_out_.size() > (greeted_ ? max_queue : max_greeting_size * 4)) {
    // It must not throw or close from within a caller that only wants to send.
    later([this] { fail("it doesn't read what it is sent"); });
    return;
  }
  wake_writer();
}

void Connection::schedule(const ChannelPtr& channel) {
  ready_.push_back(channel);
  wake_writer();
}

void Connection::wake_writer() {
  if (write_posted_ || writing_ || !open_ || closed_) return;
  write_posted_ = true;
  later([this] {
    write_posted_ = false;
    if (!closed_) guarded([this] { write_some(); });
  });
}

// Control frames first, then one frame of each channel in turn. False: nothing to send.
bool Connection::fill_output() {
  if (output_begin_ < output_.size()) return true;
  output_.clear();
  output_begin_ = 0;
  output_.swap(control_out_);
  while (!ready_.empty() && output_.size() < output_turn && !closing_) {
    ChannelPtr channel = std::move(ready_.front());
    ready_.pop_front();
    std::optional<Channel::Pending> next = channel->take();
    if (!next) {
      channel->scheduled_ = false;
      continue;
    }
    append_frame(output_, next->type, channel->id(), next->payload);
    if (next->type == FrameType::response || next->type == FrameType::failure) {
      channel->state_ = Channel::State::closed;
      forget(channel->id());
    } else {
      ready_.push_back(std::move(channel));
    }
  }
  return !output_.empty();
}

void Connection::write_some() {
  if (!open_) return;
  bool wrote = false;
  while (!closed_ && fill_output()) {
    TlsSession::Moved moved = socket_->write(std::string_view(output_).substr(output_begin_));
    if (moved.status == IoStatus::want_write) return wait_writable();
    if (moved.status == IoStatus::want_read) return wait_readable();
    if (moved.status == IoStatus::closed)
      return shut(goodbye_.empty() ? "the connection was closed" : goodbye_);
    output_begin_ += moved.size;
    wrote = true;
  }
  if (closed_) return;
  if (closing_) return shut(goodbye_);
  // An idle connection keeps no buffers.
  std::string().swap(output_);
  output_begin_ = 0;
  if (wrote)
    if (auto callback = callbacks_.on_drained) callback();
}

void Connection::forget(uint32_t id) {
  channels_.erase(id);
}

void Connection::close(std::string_view reason) {
  if (closed_ || closing_) return;
  if (!open_) return shut(std::string(reason));
  if (control_out_.size() > max_text_size) control_out_.clear();  // it doesn't read anyway
  append_frame(control_out_, FrameType::goodbye, 0, reason.substr(0, max_text_size));
  closing_ = true;
  goodbye_ = reason;
  wake_writer();
  auto timer = std::make_shared<asio::steady_timer>(io_, goodbye_time);
  timer->async_wait([timer, weak = weak_from_this()](const boost::system::error_code&) {
    if (auto self = weak.lock()) self->shut(self->goodbye_);
  });
}

void Connection::fail(const std::string& reason) {
  if (closed_) return;
  if (open_ && !closing_)
    close(reason);
  else
    shut(closing_ ? goodbye_ : reason);
}

void Connection::shut(const std::string& reason) {
  if (closed_) return;
  closed_ = true;
  if (open_ && socket_->tls) socket_->tls->shutdown();
  boost::system::error_code ignored;
  socket_->descriptor.close(ignored);
  // Not from within whatever call of the owner led here.
  later([this, reason] {
    auto channels = std::move(channels_);
    channels_.clear();
    ready_.clear();
    for (const auto& [id, channel] : channels)
      channel->finish({.error = "the connection is lost: " + reason});
    auto closed = std::move(callbacks_.on_closed);
    callbacks_ = {};
    if (closed) closed(reason);
  });
}

void Connection::admit(Peer peer) {
  peer_ = std::move(peer);
  greeted_ = true;
  reader_.limit(peer_.kind == Peer::Kind::node ? max_message_size : 0);
}

std::optional<CertificateInfo> Connection::certificate() const {
  return socket_->tls ? socket_->tls->peer() : std::nullopt;
}

Refusal Connection::refused_certificate() const {
  return socket_->tls ? socket_->tls->refused() : Refusal::none;
}

X509Ptr Connection::root() const {
  return socket_->tls ? socket_->tls->peer_root() : nullptr;
}

std::string Connection::exporter(std::string_view label) const {
  if (!socket_->tls) throw Error("a connection without TLS has no exporter");
  return socket_->tls->exporter(label);
}

X509Ptr Connection::authority() const {
  return socket_->tls ? socket_->tls->peer_authority() : nullptr;
}

std::string Connection::remote_address() const {
  return closed_ ? "" : socket_->address(getpeername);
}

std::string Connection::local_address() const {
  return closed_ ? "" : socket_->address(getsockname);
}

bool Connection::stands_still() const {
  constexpr unsigned some = 4;  // 0.2 + 0.4 + 0.8 + 1.6 s at the least
  return !closed_ && repetitions(socket_->descriptor.native_handle()) >= some;
}

}  // namespace rayctl::cluster
