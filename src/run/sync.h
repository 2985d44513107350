// How the two sides of a start talk: whole messages over a SOCK_SEQPACKET pair that ends with execve.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace rayctl::run {

enum class Sync : char {
  mapped = 'm',     // parent: the user namespace has its mappings
  mounted = 'M',    // child: all is mounted; hooks may run
  state = 'S',      // parent: hooks ran; the text is the state document for the child's own hooks
  terminal = 'T',   // child: the pty's master comes along
  warning = 'W',    // child
  listener = 'L',   // child: its filter will have a listener; the memory for seccomp_listener.h comes along
  failure = 'E',    // child: the last message; the text is the whole error
  ready = 'R',      // child: waits at the gate
  executing = 'X',  // child: all is done but what can't be told any more; a failure may still follow
  ended = 'D',      // launcher: how the container ended
};

struct SyncMessage {
  Sync kind;
  std::string text = {};
  Fd fd = {};
};

inline constexpr size_t max_sync_text = 64 << 10;  // longer texts are cut

void send_message(int socket, Sync kind, std::string_view text = {}, int fd = -1);
// Empty at the end of the stream: the other side closed it, by execve or by dying.
std::optional<SyncMessage> receive_message(int socket);

// Connects to the pathname socket `path` and sends `fd` (SCM_RIGHTS) with `text`, as engines expect a
// console.
void send_descriptor(const std::string& path, int fd, std::string_view text);

}  // namespace rayctl::run
