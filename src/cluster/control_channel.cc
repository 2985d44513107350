#include "cluster/control_channel.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "cluster/control_connection.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_events = 64;  // queued on either side
constexpr size_t quarter = channel_window / 4;

}  // namespace

const Json& Reply::value() const {
  if (!body) throw Error("{}", error);
  return *body;
}

Channel::Channel(std::weak_ptr<Connection> connection, uint32_t id, Side side)
    : connection_(std::move(connection)),
      id_(id),
      side_(side),
      credit_(channel_window),
      window_(channel_window) {}

// Whatever a callback throws ends this channel, not the process and not the connection.
template <class F>
void Channel::guarded(F&& call) {
  try {
    call();
  } catch (const std::exception& e) {
    fail(e.what());
  }
}

size_t Channel::writable() const {
  return state_ == State::open && !end_sent_ ? credit_ : 0;
}

void Channel::write(std::string_view bytes, Lane lane) {
  if (state_ != State::open || bytes.empty()) return;
  if (bytes.size() > writable())
    throw Error("cannot write {} bytes to a channel that takes {}", bytes.size(), writable());
  credit_ -= bytes.size();
  FrameType type = lane == Lane::main ? FrameType::data : FrameType::error_data;
  while (!bytes.empty()) {
    // Small writes share a frame.
    if (!out_.empty() && out_.back().type == type && out_.back().payload.size() < max_data_size) {
      size_t room = std::min(bytes.size(), max_data_size - out_.back().payload.size());
      out_.back().payload += bytes.substr(0, room);
      bytes.remove_prefix(room);
      continue;
    }
    queue(type, std::string(bytes.substr(0, max_data_size)));
    bytes.remove_prefix(std::min(bytes.size(), max_data_size));
  }
}

void Channel::write_event(const nlohmann::json& event) {
  if (state_ != State::open || end_sent_) return;
  std::string text = event.dump();
  if (text.size() > max_event_size)
    throw Error("cannot send an event of {} bytes: the limit is {}", text.size(), max_event_size);
  if (events_queued_ >= max_events) throw Error("cannot send an event: {} wait already", events_queued_);
  ++events_queued_;
  queue(FrameType::event, std::move(text));
}

void Channel::end() {
  if (state_ != State::open || end_sent_) return;
  queue(FrameType::end, "");
  end_sent_ = true;
}

void Channel::queue(FrameType type, std::string payload) {
  out_.push_back({type, std::move(payload)});
  if (auto connection = connection_.lock(); connection && !scheduled_) {
    scheduled_ = true;
    connection->schedule(shared_from_this());
  }
}

std::optional<Channel::Pending> Channel::take() {
  if (out_.empty()) return std::nullopt;
  Pending next = std::move(out_.front());
  out_.pop_front();
  if (next.type == FrameType::event) --events_queued_;
  return next;
}

void Channel::on_writable(std::function<void()> callback) {
  on_writable_ = std::move(callback);
}

void Channel::on_data(std::function<void(std::string_view, Lane)> callback) {
  on_data_ = std::move(callback);
  deliver_later();
}

void Channel::on_event(std::function<void(const Json&)> callback) {
  on_event_ = std::move(callback);
  deliver_later();
}

void Channel::on_end(std::function<void()> callback) {
  on_end_ = std::move(callback);
  deliver_later();
}

void Channel::on_cancelled(std::function<void(const std::string&)> callback) {
  on_cancelled_ = std::move(callback);
}

void Channel::deliver_later() {
  auto connection = connection_.lock();
  if (in_.empty() || !connection) return;
  connection->later([self = shared_from_this()] { self->deliver(); });
}

void Channel::receive(const Frame& frame) {
  if (state_ == State::closed) return;
  switch (frame.type) {
    case FrameType::credit: {
      size_t before = credit_, granted = parse_credit(frame.payload);
      if (granted > max_window - std::min(credit_, max_window))
        throw Error("channel {} was granted more than its window", id_);
      credit_ += granted;
      if (before < quarter && credit_ >= quarter && on_writable_ && state_ == State::open)
        guarded([callback = on_writable_] { callback(); });
      return;
    }
    case FrameType::data:
    case FrameType::error_data:
      if (end_received_) throw Error("channel {} went on after its end", id_);
      if (unread_ + to_grant_ + frame.payload.size() > window_)
        throw Error("channel {} sent more than it was granted", id_);
      if (state_ == State::answered) return;  // nobody reads it; no credit comes back
      unread_ += frame.payload.size();
      break;
    case FrameType::event:
      if (++events_waiting_ > max_events) throw Error("channel {} sent more events than anyone reads", id_);
      break;
    default:
      if (end_received_) throw Error("channel {} ended twice", id_);
      end_received_ = true;
  }
  // One-byte frames that wait must not cost more than their bytes.
  bool is_data = frame.type == FrameType::data || frame.type == FrameType::error_data;
  if (is_data && !in_.empty() && in_.back().type == frame.type)
    in_.back().payload += frame.payload;
  else
    in_.push_back({frame.type, std::string(frame.payload)});
  deliver();
}

void Channel::deliver() {
  if (delivering_) return;
  delivering_ = true;
  auto keep = shared_from_this();
  while (!in_.empty() && state_ == State::open) {
    FrameType type = in_.front().type;
    bool is_data = type == FrameType::data || type == FrameType::error_data;
    // Data waits for its reader. Events and the end are dropped only when a reader of data shows that nobody
    // wants them.
    bool wanted = is_data ? bool(on_data_) : type == FrameType::event ? bool(on_event_) : bool(on_end_);
    if (!wanted && (is_data || !on_data_)) break;
    Received next = std::move(in_.front());
    in_.pop_front();
    if (type == FrameType::event) --events_waiting_;
    if (!wanted) continue;
    guarded([&] {
      // Copies: a callback may replace itself.
      if (is_data) {
        auto callback = on_data_;
        callback(next.payload, type == FrameType::data ? Lane::main : Lane::error);
      } else if (type == FrameType::event) {
        auto callback = on_event_;
        callback(Json::parse(next.payload, "event", 16));
      } else {
        auto callback = on_end_;
        callback();
      }
    });
  }
  delivering_ = false;
}

void Channel::widen(size_t window) {
  window = std::min(window, max_window);
  if (state_ != State::open || window <= window_ || end_received_) return;
  size_t more = window - std::exchange(window_, window);
  if (auto connection = connection_.lock())
    connection->send(FrameType::credit, id_, credit_payload(static_cast<uint32_t>(more)));
}

void Channel::consumed(size_t bytes) {
  bytes = std::min(bytes, unread_);
  unread_ -= bytes;
  to_grant_ += bytes;
  if (to_grant_ < quarter || end_received_ || state_ != State::open) return;
  if (auto connection = connection_.lock())
    connection->send(FrameType::credit, id_, credit_payload(static_cast<uint32_t>(to_grant_)));
  to_grant_ = 0;
}

void Channel::respond(const nlohmann::json& body) {
  if (state_ != State::open || side_ != Side::answers) return;
  std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > max_request_size)
    return fail(fmt::format("the answer is larger than {} bytes", max_request_size));
  queue(FrameType::response, std::move(text));
  answered();
}

void Channel::fail(std::string_view message) {
  if (state_ != State::open) return;
  if (side_ == Side::asks) return cancel(message);
  queue(FrameType::failure, std::string(message.substr(0, max_text_size)));
  answered();
}

// The answer is under way: nothing that comes matters any more.
void Channel::answered() {
  state_ = State::answered;
  in_.clear();
  drop_callbacks();
}

void Channel::cancel(std::string_view reason) {
  if (state_ == State::closed) return;
  if (auto connection = connection_.lock(); connection && !connection->closed())
    connection->send(FrameType::cancel, id_, reason.substr(0, max_text_size));
  finish_later(std::string(reason));
}

void Channel::finish_later(std::string error) {
  auto connection = connection_.lock();
  if (!connection) return finish({.error = std::move(error)});
  connection->forget(id_);
  out_.clear();
  in_.clear();
  state_ = State::closed;
  if (!completion_) return drop_callbacks();
  connection->later(
      [completion = std::move(completion_), error = std::move(error)] { completion({.error = error}); });
  completion_ = nullptr;
  drop_callbacks();
}

void Channel::abandon() {
  state_ = State::closed;
  completion_ = nullptr;
  drop_callbacks();
}

void Channel::drop_callbacks() {
  on_writable_ = nullptr;
  on_data_ = nullptr;
  on_event_ = nullptr;
  on_end_ = nullptr;
  on_cancelled_ = nullptr;
}

// The other side answered or cancelled, or the connection is lost.
void Channel::finish(const Reply& reply) {
  if (state_ == State::closed) return;
  auto keep = shared_from_this();
  bool was_open = state_ == State::open;
  state_ = State::closed;
  if (auto connection = connection_.lock()) connection->forget(id_);
  out_.clear();
  in_.clear();
  auto completion = std::move(completion_);
  auto cancelled = std::move(on_cancelled_);
  completion_ = nullptr;
  drop_callbacks();
  guarded([&] {
    if (completion)
      completion(reply);
    else if (cancelled && was_open)
      cancelled(reply.error);
  });
}

}  // namespace rayctl::cluster
