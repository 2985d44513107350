// Two ends of a connection, and carriers between them that cut the bytes as no kernel would on a good day.
#include "cluster/control_connection.h"

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"

using namespace rayctl;
using namespace rayctl::cluster;
using nlohmann::json;

namespace {

struct Keys {
  TempDir dir;
  Authority authority = Authority::open(dir.path(), "0123456789abcdef");
  TlsContext server{TlsContext::Side::server, issue("head", MemberRole::head), {}};
  TlsContext client{TlsContext::Side::client, issue("worker", MemberRole::worker), {}};

  Credentials issue(const std::string& name, MemberRole role) {
    KeyPtr key = load_or_make_key(join(dir.path(), name + ".key"));
    return {key, authority.issue(key, {authority.cluster_id(), role, node_id(key)}, wall_now()),
            authority.certificate()};
  }
};

// The smallest buffers that the kernel gives: writes end in the middle of frames and of TLS records.
SocketPair tiny_sockets() {
  SocketPair pair = make_socket_pair(SOCK_STREAM | SOCK_NONBLOCK);
  int size = 1;
  for (int fd : {pair.first.get(), pair.second.get()})
    for (int option : {SO_SNDBUF, SO_RCVBUF})
      check(setsockopt(fd, SOL_SOCKET, option, &size, sizeof size), "cannot shrink a socket");
  return pair;
}

// Carries bytes one way, a few at a time.
class Drip {
 public:
  Drip(int from, int to, std::vector<size_t> sizes) : from_(from), to_(to), sizes_(std::move(sizes)) {}
  void move() {
    if (held_.empty()) {
      std::string bytes(sizes_[turn_++ % sizes_.size()], '\0');
      ssize_t got = recv(from_, bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (got > 0) held_ = bytes.substr(0, static_cast<size_t>(got));
    }
    if (held_.empty()) return;
    ssize_t sent = send(to_, held_.data(), held_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) held_.erase(0, static_cast<size_t>(sent));
    if (sent < 0 && errno != EAGAIN) held_.clear();  // that end has closed
  }

 private:
  int from_, to_;
  std::vector<size_t> sizes_;
  size_t turn_ = 0;
  std::string held_;
};

// The left end sends `bytes` on both lanes, the right end sends them back; meanwhile both send notifications,
// which go ahead of the data, and credit flows.
class Conversation {
 public:
  Conversation(Fd left, Fd right, const std::string& bytes, Keys* keys, std::vector<Drip> drips = {})
      : bytes_(bytes), drips_(std::move(drips)) {
    left_ = start(std::move(left), keys ? &keys->client : nullptr, Connection::Origin::connector, got_left_);
    right_ =
        start(std::move(right), keys ? &keys->server : nullptr, Connection::Origin::acceptor, got_right_);
    channel_ = left_->request("echo", json::object(), [this](const Reply& reply) { reply_ = reply; });
    channel_->on_writable([this] { feed(); });
    channel_->on_data([this](std::string_view got, Lane lane) {
      (lane == Lane::main ? back_ : back_error_) += got;
      channel_->consumed(got.size());
      notify(*left_, sent_left_);
    });
    notify(*left_, sent_left_);
    feed();
  }
  ~Conversation() {
    channel_->cancel("");
    for (const ConnectionPtr& end : {left_, right_}) end->close("");
    run_until([this] { return left_->closed() && right_->closed(); });
    io_.poll();
  }

  // What went wrong; empty: every byte came back, and every notification arrived in its order.
  std::string run() {
    run_until([this] { return reply_ || !lost_.empty(); });
    if (!lost_.empty()) return lost_;
    if (!reply_) return "no answer";
    if (!reply_->ok()) return reply_->error;
    if (back_ != bytes_) return fmt::format("{} bytes became other {}", bytes_.size(), back_.size());
    if (back_error_ != bytes_)
      return fmt::format("{} bytes became other {}", bytes_.size(), back_error_.size());
    if (got_left_ == 0 || got_right_ == 0) return "no notifications";
    return "";
  }

 private:
  ConnectionPtr start(Fd fd, const TlsContext* tls, Connection::Origin origin, int64_t& got) {
    Connection::Callbacks on;
    on.on_request = [this](const Request&, const ChannelPtr& channel) { echo(channel); };
    on.on_notify = [this, &got](const std::string&, const Json& body) {
      if (body.at("n").integer() != got++) lost_ = "a notification is out of its order";
    };
    on.on_closed = [this](const std::string& reason) {
      if (!reason.empty()) lost_ = reason;
    };
    return Connection::start(io_, std::move(fd), tls, origin, {.kind = Peer::Kind::head, .label = "x"},
                             std::move(on));
  }

  void notify(Connection& from, int64_t& count) {
    from.notify("count", {{"n", count}, {"text", std::string(static_cast<size_t>(count) * 37 % 5000, 'n')}});
    ++count;
    from.ping();
  }

  void feed() {
    while (fed_ < 2 * bytes_.size() && channel_->writable() > 0) {
      size_t at = fed_ / 2;
      auto piece =
          std::string_view(bytes_).substr(at, std::min<size_t>(1 + at % 20000, channel_->writable() / 2));
      if (piece.empty()) return;
      channel_->write(piece);
      channel_->write(piece, Lane::error);
      fed_ += 2 * piece.size();
    }
    if (fed_ == 2 * bytes_.size()) channel_->end();
  }

  void echo(const ChannelPtr& channel) {
    struct Waiting {
      std::string bytes[2];
      bool ended = false;
    };
    auto waiting = std::make_shared<Waiting>();
    auto move = [channel, waiting] {
      for (Lane lane : {Lane::main, Lane::error}) {
        std::string& bytes = waiting->bytes[lane == Lane::main ? 0 : 1];
        size_t size = std::min(bytes.size(), channel->writable());
        channel->write(std::string_view(bytes).substr(0, size), lane);
        channel->consumed(size);
        bytes.erase(0, size);
      }
      if (waiting->ended && waiting->bytes[0].empty() && waiting->bytes[1].empty())
        channel->respond(json::object());
    };
    channel->on_data([this, waiting, move](std::string_view bytes, Lane lane) {
      waiting->bytes[lane == Lane::main ? 0 : 1] += bytes;
      move();
      notify(*right_, sent_right_);
    });
    channel->on_writable(move);
    channel->on_end([waiting, move] {
      waiting->ended = true;
      move();
    });
  }

  template <class Done>
  void run_until(Done done) {
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    io_.restart();
    while (!done() && std::chrono::steady_clock::now() < end) {
      if (drips_.empty()) {
        io_.run_one_for(std::chrono::milliseconds(20));
        continue;
      }
      for (Drip& drip : drips_) drip.move();
      io_.poll();
    }
  }

  const std::string& bytes_;
  std::vector<Drip> drips_;
  boost::asio::io_context io_;
  ConnectionPtr left_, right_;
  ChannelPtr channel_;
  std::optional<Reply> reply_;
  std::string back_, back_error_, lost_;
  size_t fed_ = 0;
  int64_t sent_left_ = 0, sent_right_ = 0, got_left_ = 0, got_right_ = 0;
};

std::string talk_by_drips(const std::string& bytes, const std::vector<size_t>& sizes, Keys* keys) {
  SocketPair left = tiny_sockets(), right = tiny_sockets();
  return Conversation(std::move(left.first), std::move(right.first), bytes, keys,
                      {Drip(left.second.get(), right.second.get(), sizes),
                       Drip(right.second.get(), left.second.get(), sizes)})
      .run();
}

}  // namespace

TEST_CASE("a connection survives writes and reads that end anywhere", "[control]") {
  Keys made;
  for (Keys* keys : {static_cast<Keys*>(nullptr), &made}) {
    INFO((keys ? "TLS" : "plain"));
    std::string bytes = random_bytes(150'000);
    SocketPair pair = tiny_sockets();
    CHECK(Conversation(std::move(pair.first), std::move(pair.second), bytes, keys).run() == "");
    CHECK(talk_by_drips(bytes, {1, 4096, 7, 16 << 10, 3, 500, 8, 9}, keys) == "");
    CHECK(talk_by_drips(bytes.substr(0, 1000), {1}, keys) == "");
  }
}

// Each loop has its thread, and they share nothing: a test's cluster and its client are two in one process.
TEST_CASE("connections of several loops in one process don't disturb each other", "[control]") {
  Keys keys;
  std::vector<std::string> results(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&keys, &result = results[i], tls = i % 2 == 1] {
      std::string bytes = random_bytes(2'000'000);
      SocketPair pair = make_socket_pair(SOCK_STREAM | SOCK_NONBLOCK);
      result =
          Conversation(std::move(pair.first), std::move(pair.second), bytes, tls ? &keys : nullptr).run();
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(results == std::vector<std::string>(4));
}
