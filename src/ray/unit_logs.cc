#include "ray/unit_logs.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "run/log_reader.h"

namespace rayctl::ray {

namespace asio = boost::asio;

namespace {

run::LogQuery parse_query(const Json& query) {
  run::LogQuery parsed;
  parsed.follow = query.boolean_or("follow", false);
  if (auto tail = query.find("tail")) parsed.tail = tail->size();
  if (auto since = query.find("since_seconds"))
    parsed.since = std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()) -
                   std::chrono::seconds(since->size());
  return parsed;
}

// Lives as long as its channel or a wait holds it.
class LogStream : public std::enable_shared_from_this<LogStream> {
 public:
  LogStream(asio::io_context& io, const std::string& directory, const Json& query,
            cluster::ChannelPtr channel)
      : reader_(directory, parse_query(query)),
        wake_(io),
        channel_(std::move(channel)),
        follow_(query.boolean_or("follow", false)),
        timestamps_(query.boolean_or("timestamps", false)) {
    if (follow_) wake_.assign(reader_.fd());
  }
  ~LogStream() { wake_.release(); }  // the fd is the reader's

  void begin() {
    auto self = shared_from_this();
    channel_->on_writable([self] { self->pump(); });
    channel_->on_cancelled([self](const std::string&) {
      if (self->wake_.is_open()) self->wake_.cancel();
    });
    pump();
  }

 private:
  struct Piece {
    cluster::Lane lane;
    std::string text;
  };

  void pump() {
    while (!channel_->closed()) {
      if (pending_.empty() && !refill())
        return follow_ ? wait() : channel_->respond(nlohmann::json::object());
      Piece& piece = pending_.front();
      size_t room = channel_->writable();
      if (room == 0) return;  // on_writable comes
      size_t n = std::min(room, piece.text.size());
      channel_->write(std::string_view(piece.text).substr(0, n), piece.lane);
      piece.text.erase(0, n);
      if (piece.text.empty()) pending_.pop_front();
    }
  }

  bool refill() {
    for (run::LogRecord& record : reader_.next()) {
      std::string text;
      bool& begun = record.stream == run::Stream::out ? out_begun_ : err_begun_;
      if (timestamps_ && !begun) text = run::format_time(record.time) + " ";
      if (record.stream == run::Stream::rayctl) text += "rayctl: ";
      text += record.text;
      if (!record.partial) text += '\n';
      begun = record.partial;
      pending_.push_back(
          {record.stream == run::Stream::out ? cluster::Lane::main : cluster::Lane::error, std::move(text)});
    }
    return !pending_.empty();
  }

  void wait() {
    if (std::exchange(waiting_, true)) return;
    auto self = shared_from_this();
    wake_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self](const boost::system::error_code& error) {
                       self->waiting_ = false;
                       if (!error) self->pump();
                     });
  }

  run::LogReader reader_;
  asio::posix::stream_descriptor wake_;
  cluster::ChannelPtr channel_;
  bool follow_, timestamps_, waiting_ = false, out_begun_ = false, err_begun_ = false;
  std::deque<Piece> pending_;
};

}  // namespace

void stream_log(asio::io_context& io, const std::string& directory, const Json& query,
                const cluster::ChannelPtr& channel) {
  std::make_shared<LogStream>(io, directory, query, channel)->begin();
}

std::string log_tail(const std::string& directory, uint64_t lines) {
  constexpr size_t limit = 4096;
  std::string text;
  run::LogReader reader(directory, {.tail = lines, .follow = false});
  for (auto records = reader.next(); !records.empty(); records = reader.next())
    for (const run::LogRecord& record : records) text += record.text + (record.partial ? "" : "\n");
  if (text.size() > limit) text = text.substr(text.size() - limit);
  return text;
}

}  // namespace rayctl::ray
