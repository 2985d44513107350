#include "cluster/control_pump.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <deque>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace rayctl::cluster {

namespace asio = boost::asio;

namespace {

// A local fd in the loop. Regular files are always ready and epoll refuses them: they are used without
// waiting.
class PumpEnd {
 public:
  PumpEnd(asio::io_context& io, Fd fd) : io_(io) {
    if (!fd) return;
    struct stat found {};
    check(fstat(fd.get(), &found), "cannot examine a stream");
    polled_ = !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
    int flags = fcntl(fd.get(), F_GETFL);
    fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK);
    if (polled_)
      descriptor_.emplace(io, fd.release());
    else
      file_ = std::move(fd);
  }
  int fd() { return descriptor_ ? descriptor_->native_handle() : file_.get(); }
  explicit operator bool() const { return descriptor_ || file_; }
  void close() {
    descriptor_.reset();  // cancels what waits
    file_.reset();
  }
  // The other end of a socket hears of the end of what was written, though the socket itself is still read.
  void finish() {
    if (descriptor_) shutdown(descriptor_->native_handle(), SHUT_WR);  // ENOTSOCK for all else
    close();
  }
  template <class F>
  void when_ready(asio::posix::stream_descriptor::wait_type type, F&& call) {
    if (!descriptor_) return asio::post(io_, std::forward<F>(call));
    descriptor_->async_wait(type,
                            [call = std::forward<F>(call)](const boost::system::error_code& error) mutable {
                              if (!error) call();
                            });
  }

 private:
  asio::io_context& io_;
  bool polled_ = false;
  std::optional<asio::posix::stream_descriptor> descriptor_ = {};
  Fd file_ = {};
};

class StdioPump : public std::enable_shared_from_this<StdioPump> {
 public:
  StdioPump(asio::io_context& io, LocalStdio stdio, ChannelPtr channel, std::function<void()> at_end)
      : in_(io, std::move(stdio.in)),
        outs_{Reader{PumpEnd(io, std::move(stdio.out)), Lane::main},
              Reader{PumpEnd(io, std::move(stdio.err)), Lane::error}},
        io_(io),
        channel_(std::move(channel)),
        at_end_(std::move(at_end)) {}

  void start() {
    auto self = shared_from_this();
    channel_->on_data([self](std::string_view bytes, Lane) { self->receive(bytes); });
    channel_->on_end([self] {
      self->in_ended_ = true;
      self->write_in();
    });
    channel_->on_writable([self] { self->read_all(); });
    channel_->on_cancelled([self](const std::string&) { self->close(); });
    read_all();
    finish_if_done();
  }

 private:
  struct Reader {
    PumpEnd end;
    Lane lane;
    bool waiting = false;
  };

  void receive(std::string_view bytes) {
    if (!in_) return channel_->consumed(bytes.size());
    buffer_ += bytes;
    write_in();
  }

  void write_in() {
    if (in_writing_) return;
    while (in_ && begin_ < buffer_.size()) {
      ssize_t size = write(in_.fd(), buffer_.data() + begin_, buffer_.size() - begin_);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) {
        in_writing_ = true;
        in_.when_ready(asio::posix::stream_descriptor::wait_write, [self = shared_from_this()] {
          self->in_writing_ = false;
          self->write_in();
        });
        return;
      }
      if (size < 0) {
        // The program closed its stdin: what comes is read and dropped, as a shell's pipe would.
        in_.close();
        channel_->consumed(buffer_.size() - begin_);
        break;
      }
      begin_ += static_cast<size_t>(size);
      channel_->consumed(static_cast<size_t>(size));
    }
    buffer_.clear();
    begin_ = 0;
    if (in_ended_) in_.finish();
  }

  void read_all() {
    for (Reader& reader : outs_) read(reader);
  }

  void read(Reader& reader) {
    std::array<char, max_data_size> scratch;
    while (reader.end && !reader.waiting && !channel_->closed()) {
      size_t room = std::min(channel_->writable(), scratch.size());
      if (room == 0) return;  // on_writable comes
      ssize_t size = ::read(reader.end.fd(), scratch.data(), room);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && errno == EAGAIN) {
        reader.waiting = true;
        reader.end.when_ready(asio::posix::stream_descriptor::wait_read,
                              [self = shared_from_this(), &reader] {
                                reader.waiting = false;
                                self->read(reader);
                                self->finish_if_done();
                              });
        return;
      }
      if (size <= 0) {
        reader.end.close();  // EIO is how a pty says that its last process ended
        finish_if_done();
        return;
      }
      channel_->write({scratch.data(), static_cast<size_t>(size)}, reader.lane);
    }
  }

  void finish_if_done() {
    if (outs_[0].end || outs_[1].end || !at_end_) return;
    asio::post(io_, [self = shared_from_this(), at_end = std::exchange(at_end_, nullptr)] {
      if (!self->channel_->closed()) at_end();
    });
  }

  void close() {
    at_end_ = nullptr;
    in_.close();
    for (Reader& reader : outs_) reader.end.close();
  }

  PumpEnd in_;
  std::array<Reader, 2> outs_;
  asio::io_context& io_;
  ChannelPtr channel_;
  std::function<void()> at_end_;
  std::string buffer_;  // for in_; bounded by the channel's window
  size_t begin_ = 0;
  bool in_ended_ = false, in_writing_ = false;
};

// One direction of a relay. What the one side brings waits here until the other takes it; bounded by the
// window.
class RelayPath : public std::enable_shared_from_this<RelayPath> {
 public:
  RelayPath(const ChannelPtr& from, const ChannelPtr& to) : from_(from), to_(to) {}

  void start() {
    auto self = shared_from_this();
    if (auto from = from_.lock()) {
      from->on_data([self](std::string_view bytes, Lane lane) {
        self->waiting_.push_back({std::string(bytes), lane});
        self->move();
      });
      // At once, ahead of what waits: a signal must reach a program that reads nothing.
      from->on_event([self](const Json& event) {
        if (auto to = self->to_.lock()) to->write_event(event.raw());
      });
      from->on_end([self] {
        self->ended_ = true;
        self->move();
      });
    }
    if (auto to = to_.lock()) to->on_writable([self] { self->move(); });
  }

  // `then` is called once everything was handed on: the answer must not overtake the data.
  void drained(std::function<void()> then) {
    then_ = std::move(then);
    move();
  }

 private:
  struct Piece {
    std::string bytes;
    Lane lane;
  };

  void move() {
    auto from = from_.lock(), to = to_.lock();
    if (!to || to->closed()) waiting_.clear();
    while (!waiting_.empty()) {
      Piece& piece = waiting_.front();
      size_t size = std::min(piece.bytes.size(), to->writable());
      if (size == 0) return;
      to->write(std::string_view(piece.bytes).substr(0, size), piece.lane);
      if (from) from->consumed(size);
      if (size < piece.bytes.size()) {
        piece.bytes.erase(0, size);
        return;
      }
      waiting_.pop_front();
    }
    if (ended_ && to) to->end();
    if (then_) std::exchange(then_, nullptr)();
  }

  std::weak_ptr<Channel> from_, to_;
  std::deque<Piece> waiting_;
  std::function<void()> then_;
  bool ended_ = false;
};

}  // namespace

void pump_stdio(asio::io_context& io, LocalStdio stdio, const ChannelPtr& channel,
                std::function<void()> at_end) {
  // A program that closed its stdin must not end the supervisor; children get their signals' defaults back.
  static const auto ignored = std::signal(SIGPIPE, SIG_IGN);
  static_cast<void>(ignored);
  std::make_shared<StdioPump>(io, std::move(stdio), channel, std::move(at_end))->start();
}

void relay(const ChannelPtr& from, const ConnectionPtr& to, std::string_view name,
           const nlohmann::json& body) {
  auto back = std::make_shared<std::shared_ptr<RelayPath>>();
  ChannelPtr onward = to->request(name, body, [from, back](const Reply& reply) {
    auto answer = [from, reply] {
      if (reply.ok())
        from->respond(reply.body->raw());
      else
        from->fail(reply.error);
    };
    if (*back)
      (*back)->drained(answer);
    else
      answer();
    back->reset();
  });
  auto forth = std::make_shared<RelayPath>(from, onward);
  *back = std::make_shared<RelayPath>(onward, from);
  forth->start();
  (*back)->start();
  from->on_cancelled([onward](const std::string& reason) { onward->cancel(reason); });
}

}  // namespace rayctl::cluster
