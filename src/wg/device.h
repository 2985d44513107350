// The protocol's state machine for one tunnel with all its peers. It has neither sockets nor a clock: what
// comes in is given to it with the time, what is to go out lies in `outbox` and `ready`.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "wg/allowed_ips.h"
#include "wg/peer.h"

namespace rayctl::wg {

struct Moment {
  Time boot{};           // CLOCK_BOOTTIME: sessions also age while the machine sleeps
  uint64_t unix_ns = 0;  // for timestamps that peers compare
};

// A handshake message, cookie or keepalive.
struct Datagram {
  Endpoint to = {};
  std::vector<uint8_t> bytes = {};
};

// A decrypted packet, in the buffer that the message came in.
struct Delivery {
  Peer* peer = nullptr;
  std::span<uint8_t> packet = {};  // an IP packet without padding
};

class Device {
 public:
  Device();

  // Sessions, endpoints and counters of peers that stay are kept. A change of a peer's cipher or of our own
  // key retires its sessions; a changed endpoint is taken, an unchanged one doesn't undo roaming.
  void set_table(const TunnelTable& table, Moment now);
  const TunnelTable& table() const { return table_; }
  const PublicKey& public_key() const { return own_.public_key(); }
  const std::vector<std::unique_ptr<Peer>>& peers() const { return peers_; }

  // --- from the link ---
  // Whose the destination of an IP packet is; null (and counted) when it is nobody's.
  Peer* route(ByteView packet);
  // Null when there is none: then a handshake is on its way, and the frame may wait for it.
  Session* session_for_sending(Peer& peer, Moment now);
  void hold(Peer& peer, ByteView frame);          // bounded by packets and bytes, per peer and in all
  std::vector<uint8_t> take_waiting(Peer& peer);  // the oldest of them
  void sent_data(Peer& peer, Session& session, uint64_t bytes, Moment now);

  // --- from the socket ---
  // A transport message; the packet in it, if there is one to deliver.
  std::optional<Delivery> receive_data(std::span<uint8_t> message, const Endpoint& from, Moment now);
  // Anything else; expensive work is only queued.
  void receive_message(ByteView message, const Endpoint& from, Moment now);
  bool handshakes_waiting() const { return !handshakes_.empty(); }
  // Does at most `limit` Diffie-Hellman handshakes.
  void work_handshakes(int limit, Moment now);

  // --- time ---
  std::optional<Time> next_timer() const;
  void run_timers(Moment now);
  // After a restart: begins with these peers at once, at the addresses where they were seen last.
  void recall(const std::map<PublicKey, Endpoint>& peers, Moment now);
  void forget_sessions();  // somebody else may have them: not one more packet is sent with their keys

  std::vector<Datagram> outbox;  // to be sent and cleared by the owner
  std::vector<Peer*> ready;      // their waiting frames can be sent now; to be cleared by the owner
  DropCounters drops;            // of no known peer
  // The newest timestamp given out: a clock that was set back must not make us mute.
  uint64_t newest_timestamp() const { return newest_timestamp_; }
  void raise_timestamp(uint64_t unix_ns);

 private:
  friend class DeviceState;
  struct Owner {
    Peer* peer;
    Session* session;  // null: the index belongs to our initiation
  };
  struct Handshake {
    std::vector<uint8_t> bytes;
    Endpoint from;
  };

  bool under_load(Moment now);
  void consume_initiation(const Initiation& message, const Endpoint& from, Moment now);
  void consume_response(const Response& message, const Endpoint& from, Moment now);
  void consume_cookie(ByteView message, Moment now);
  void initiate(Peer& peer, Moment now, bool retry);
  void respond(Peer& peer, const OpenedInitiation& initiation, Moment now);
  void start_session(Peer& peer, std::unique_ptr<Session> session, Moment now);
  void confirm_next(Peer& peer, Moment now);
  void send_keepalive(Peer& peer, Moment now);
  void send_waiting(Peer& peer, Moment now);
  void drop_waiting(Peer& peer, Drop reason);
  void retire(Peer& peer);  // our keys changed: what is on its way is still received
  void forget(Peer& peer);  // wipes sessions and handshake
  void close(std::unique_ptr<Session>& session);
  void arm(Peer& peer);
  const Secret* static_static(Peer& peer);
  uint32_t new_index(Peer& peer, Session* session);
  Peer* peer_of(const PublicKey& key);
  Timestamp next_timestamp(Moment now);
  Time jitter();
  void meet_stray(const Endpoint& from, Moment now);
  bool source_fits(const Peer& peer, ByteView packet);

  TunnelTable table_;
  DhKey own_;
  CookieChecker checker_;
  SourceLimiter limiter_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::map<PublicKey, Peer*> by_key_;
  std::unordered_map<uint32_t, Owner> by_index_;
  AllowedIps allowed_;
  bool aes_ = false, chacha_ = false;  // which constructions the table has
  std::deque<Handshake> handshakes_;
  Time worked_since_{};  // handshakes done since then
  int worked_ = 0;
  std::optional<Time> loaded_;      // when there last was too much to do
  std::optional<Time> last_stray_;  // data of no session made us look for its sender
  std::set<std::pair<Time, Peer*>> timers_;
  size_t waiting_bytes_ = 0;
  uint64_t newest_timestamp_ = 0;
  std::minstd_rand random_;
  // The last answers: a batch mostly asks the same.
  uint32_t last_index_ = 0;
  Owner last_owner_ = {};
};

}  // namespace rayctl::wg
