// One request on a control connection, with its answer and the bytes that flow both ways meanwhile.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "cluster/control_frame.h"

namespace rayctl::cluster {

class Connection;

enum class Lane { main, error };  // stdin or stdout; stderr

// The answer to a request: a body, or the text of why not.
struct Reply {
  std::optional<Json> body = {};
  std::string error = {};
  bool ok() const { return body.has_value(); }
  const Json& value() const;  // throws Error(error)
};
using Completion = std::function<void(const Reply& reply)>;

// Both sides hold one of these from the request to its answer. Bytes are flow-controlled: each side may have
// `channel_window` bytes under way that the other hasn't consumed, so that a slow reader stops its writer and
// nobody else. All callbacks run in the io_context's thread, never from within write(), end(), respond(),
// fail() or cancel(); all are dropped once the channel is closed, so they may hold the channel itself. An
// Error thrown by a callback ends the channel with that text.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  enum class Side { asks, answers };
  Channel(std::weak_ptr<Connection> connection, uint32_t id, Side side);

  // --- sending ---
  size_t writable() const;  // how many bytes write() takes now; 0 after end() or the answer
  void write(std::string_view bytes, Lane lane = Lane::main);  // at most writable()
  void write_event(
      const nlohmann::json& event);  // e.g. {"resize": [rows, columns]}; at most 4 KiB, 64 under way
  void end();                        // half-close: no more data from this side
  // Called (later) each time writable() grew from less than a quarter of the window.
  void on_writable(std::function<void()> callback);

  // --- receiving ---
  // Data that came earlier is kept (up to the window) and delivered after this call.
  void on_data(std::function<void(std::string_view bytes, Lane lane)> callback);
  // For bulk data over a long way: lets the other side send up to `window` bytes ahead (at most max_window).
  void widen(size_t window);
  void consumed(size_t bytes);  // what was received and used up: lets the other side send as much again
  void on_event(std::function<void(const Json& event)> callback);
  void on_end(std::function<void()> callback);  // the other side half-closed, after all its data

  // --- the end ---
  void respond(const nlohmann::json& body);  // Side::answers, once: after the data written so far; closes
  void fail(std::string_view message);       // instead of respond(); by Side::asks the same as cancel()
  void cancel(std::string_view reason);      // closes at once; the other side learns the reason
  // The other side cancelled or the connection is lost: nobody waits for the answer any more. Not called
  // after respond() or fail(). (Side::asks learns the same through its Completion.)
  void on_cancelled(std::function<void(const std::string& reason)> callback);
  bool closed() const { return state_ == State::closed; }
  uint32_t id() const { return id_; }

 private:
  friend class Connection;
  enum class State { open, answered, closed };
  struct Pending {
    FrameType type;
    std::string payload;
  };
  struct Received {
    FrameType type;
    std::string payload;
  };

  void receive(const Frame& frame);  // data, error_data, event, end, credit
  void deliver();                    // to the callbacks, as far as they are set
  void deliver_later();
  void finish(const Reply& reply);  // the answer came, or never will
  std::optional<Pending> take();    // the next frame to send; the connection calls in turn
  void queue(FrameType type, std::string payload);
  void answered();
  void finish_later(std::string error);
  void abandon();  // nobody is left to call
  void drop_callbacks();
  template <class F>
  void guarded(F&& call);

  std::weak_ptr<Connection> connection_;
  uint32_t id_;
  Side side_;
  State state_ = State::open;
  bool end_sent_ = false, end_received_ = false, delivering_ = false, scheduled_ = false;
  size_t credit_;        // bytes that we may still send
  size_t window_;        // bytes that the other side may have under way
  size_t unread_ = 0;    // bytes that came and aren't consumed yet
  size_t to_grant_ = 0;  // consumed but not granted yet
  size_t events_queued_ = 0, events_waiting_ = 0;
  std::deque<Pending> out_;
  std::deque<Received> in_;
  Completion completion_;
  std::function<void()> on_writable_, on_end_;
  std::function<void(std::string_view, Lane)> on_data_;
  std::function<void(const Json&)> on_event_;
  std::function<void(const std::string&)> on_cancelled_;
};
using ChannelPtr = std::shared_ptr<Channel>;

constexpr size_t channel_window = 128 << 10;
constexpr size_t max_window = 1 << 20;

}  // namespace rayctl::cluster
