// A session: the keys of both directions that one handshake made, with their counters.
#pragma once

#include <cstdint>

#include "wg/noise.h"
#include "wg/replay_window.h"
#include "wg/timers.h"

namespace rayctl::wg {

enum class Role : uint8_t { initiator, responder };

struct Session {
  static constexpr uint64_t frame_messages = 65536;  // more than one frame of the link can become

  Session(const SessionKeys& keys_, Role role_, uint32_t local_, uint32_t remote_, Time born_)
      : role(role_),
        local(local_),
        remote(remote_),
        born(born_),
        keys(keys_),
        send(keys.cipher, Aead::Use::seal, keys.send),
        receive(keys.cipher, Aead::Use::open, keys.receive) {}

  Role role;
  uint32_t local, remote;  // the indices that messages to us and to the peer carry
  Time born;
  bool may_send = true;  // false once the keys were retired: what is on its way is received still
  uint64_t next_counter = 0;
  SessionKeys keys;  // to be handed to a successor
  Aead send, receive;
  ReplayWindow window = {};

  bool usable_for_sending(Time now) const {
    return may_send && next_counter < reject_after_messages - frame_messages &&
           now - born < reject_after_time;
  }
  bool usable_for_receiving(uint64_t counter, Time now) const {
    return counter < reject_after_messages && now - born < reject_after_time;
  }

  // Makes a transport message of header, `size` bytes of padded plaintext at message + 16, and tag; returns
  // its size.
  size_t seal(uint8_t* message, size_t size) {
    store32(message, static_cast<uint32_t>(MessageType::data));
    store32(message + 4, remote);
    store64(message + 8, next_counter);
    send.seal(next_counter++, message + data_header_size, size);
    return data_header_size + size + tag_size;
  }
};

}  // namespace rayctl::wg
