// One control connection: frames over TLS or a unix socket, many channels at once, both sides may ask.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/json.h"
#include "cluster/control_channel.h"
#include "cluster/control_requests.h"
#include "cluster/tls.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::cluster {

// Frames, channels, heartbeat answers and the bounded output queue of one socket. Lives as long as its socket
// is open or someone holds it. Everything runs in the io_context's one thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  enum class Origin { connector, acceptor };  // whose channel ids are odd, whose are even
  struct Callbacks {
    // An acceptor's: it speaks HTTP, not TLS. The socket is the callee's then, and this connection ends.
    std::function<void(Fd socket)> on_http = {};
    std::function<void()> on_open = {};                    // the TLS handshake is done (unix: at once)
    std::function<void(const Json& hello)> on_hello = {};  // the other side's first frame
    std::function<void(const Request&, const ChannelPtr&)> on_request = {};
    std::function<void(const std::string& name, const Json& body)> on_notify = {};
    // Sees a notify's payload first (a crowd in one process reads the same bytes many times); true: that was
    // all.
    std::function<bool(std::string_view payload)> on_notify_encoded = {};
    std::function<void()> on_pong = {};
    std::function<void()> on_drained = {};                          // the output queue became empty
    std::function<void(const std::string& reason)> on_closed = {};  // once; the text is for people
  };

  // `fd` is a connected (or connecting) non-blocking socket; `tls` null = plain (unix socket).
  static std::shared_ptr<Connection> start(boost::asio::io_context& io, Fd fd, const TlsContext* tls,
                                           Origin origin, Peer peer, Callbacks callbacks);
  ~Connection();

  // Asks. The channel is for those requests that stream bytes; others ignore it. The completion is called
  // exactly once, never from within this call; with `timeout` at the latest then, with an error.
  ChannelPtr request(std::string_view name, const nlohmann::json& body, Completion completion,
                     std::optional<std::chrono::milliseconds> timeout = {});
  void hello(const nlohmann::json& body);
  void notify(std::string_view name, const nlohmann::json& body);
  void notify_encoded(
      std::string_view payload);  // a notify's JSON, maybe packed, that many connections share
  void ping();
  void close(std::string_view reason);  // says goodbye with this reason (when there is one), then closes
  bool closed() const { return closed_; }

  void admit(Peer peer);  // from now on it is `peer`; larger frames and requests are accepted
  const Peer& peer() const { return peer_; }
  std::optional<CertificateInfo> certificate() const;
  X509Ptr authority() const;
  X509Ptr root() const;                                // of that authority, when it isn't one itself
  Refusal refused_certificate() const;                 // of the other side's, by ours
  std::string exporter(std::string_view label) const;  // TLS only
  std::string remote_address() const;                  // "10.0.0.7" (TCP only); empty until it is there
  std::string local_address() const;
  std::chrono::steady_clock::time_point last_heard() const { return last_heard_; }
  bool stands_still() const;  // the other end has confirmed nothing of what the kernel sent for some seconds
  size_t queued() const {
    return control_out_.size() + output_.size() - output_begin_;
  }  // bytes not yet taken by the kernel, without channel data
  size_t channels() const { return channels_.size(); }
  boost::asio::io_context& io() { return io_; }

 private:
  friend class Channel;
  struct Socket;
  Connection(boost::asio::io_context& io, Fd fd, const TlsContext* tls, Origin origin, Peer peer,
             Callbacks callbacks);
  void begin();
  void wait_readable();
  void wait_writable();
  void advance();  // handshake, then read what is there and write what is due
  bool advance_handshake();
  bool wants_http();
  void read_some();
  void receive(const Frame& frame);
  void open_channel(const Frame& frame);
  void send(FrameType type, uint32_t channel, std::string_view payload);  // ahead of channel data
  void schedule(const ChannelPtr& channel);                               // it has frames to send
  void wake_writer();
  bool fill_output();
  void write_some();
  void forget(uint32_t id);
  void fail(const std::string& reason);
  void shut(const std::string& reason);
  void later(std::function<void()> call);
  template <class F>
  void guarded(F&& call);

  boost::asio::io_context& io_;
  std::unique_ptr<Socket> socket_;
  Origin origin_;
  Peer peer_;
  Callbacks callbacks_;
  bool open_ = false, greeted_ = false, closed_ = false, closing_ = false, reading_ = false, writing_ = false,
       write_posted_ = false, looked_at_ = false;
  std::string goodbye_;  // what the other side said before it closed
  FrameReader reader_;
  std::string control_out_;  // frames that go ahead of channel data
  std::string output_;       // what the socket is being given
  size_t output_begin_ = 0;
  std::deque<ChannelPtr> ready_;  // channels with frames to send, in turn
  std::map<uint32_t, ChannelPtr> channels_;
  uint32_t next_channel_, last_opened_ = 0;
  std::chrono::steady_clock::time_point last_heard_;
};
using ConnectionPtr = std::shared_ptr<Connection>;

}  // namespace rayctl::cluster
