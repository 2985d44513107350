// Seccomp user notification: the way of a filter's listener from the process that loads the filter to the
// agent that answers for it (runtime-spec config-linux.md, "The Container Process State").
#pragma once

#include <sys/types.h>

#include <string>

#include "base/fd.h"
#include "run/spec.h"

namespace rayctl::run {

// Of a process that is about to load a filter with a listener. The filter may hold up any system call from
// then on, so the two sides meet in shared memory, and the process makes no call between loading and execve.
class ListenerOffer {
 public:
  explicit ListenerOffer(int socket);  // announces itself by Sync::listener
  ListenerOffer(const ListenerOffer&) = delete;
  ~ListenerOffer();
  // Returns when the other side has taken `fd`. Ends the process when nobody does within half a minute.
  void wait_until_taken(int fd) noexcept;

 private:
  struct Shared;
  friend class ListenerTaker;
  Shared* shared_;
};

// Whoever received Sync::listener with `memory`: takes the listener out of the process of `pidfd` and sends
// it to the agent at `profile.listener_path`, with `pid` (the process's) and the container's `state` (JSON).
// An error leaves the process waiting: kill it.
void pass_listener(const Fd& memory, const Fd& pidfd, pid_t pid, const SeccompProfile& profile,
                   const std::string& state);

}  // namespace rayctl::run
