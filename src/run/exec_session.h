// A client's side of an exec into a running container, or of an attachment to its output.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/child.h"
#include "base/fd.h"
#include "run/container.h"
#include "run/shim_wire.h"

namespace rayctl::run {

struct ExecRequest {
  std::vector<std::string> argv;
  std::vector<std::string> env = {};  // added to the container's, same names replaced
  std::optional<std::string> user =
      {};  // as in an image's USER, by the container's own passwd; empty = its user
  std::optional<std::string> cwd = {};  // empty = the container's
  bool terminal = false;                // then the master comes back instead of stdio going there
  std::optional<ConsoleSize> size = {};
  Stdio stdio = {};                                       // ignored with a terminal and when detached
  bool detach = false;                                    // goes on when the caller ends; stdio is /dev/null
  std::optional<std::chrono::milliseconds> timeout = {};  // everything that it started is killed then
};

struct ExecResult {
  Exit exit;
  bool timed_out = false;
};

// A process in a container. When the object is destroyed (or its process dies) before the end, the process
// and all that it started are killed, unless it is detached.
class ExecSession {
 public:
  ExecSession(Fd socket, const ExecCall& call, const Stdio& stdio);

  pid_t pid() const { return pid_; }                           // as the host numbers it
  int terminal() const { return terminal_.get(); }             // the pty's master
  Fd share_terminal() const { return terminal_.duplicate(); }  // resize() needs it too
  int fd() const { return channel_->fd(); }                    // readable when poll() has news
  std::optional<ExecResult> poll();                            // without waiting
  // An error when the container's shim was killed meanwhile.
  std::optional<ExecResult> wait(std::optional<std::chrono::milliseconds> limit = {});
  void signal(int signal);
  void resize(uint16_t rows, uint16_t columns) const;  // of the terminal

 private:
  std::optional<ExecResult> take(const Frame& frame);

  std::unique_ptr<Channel> channel_;
  pid_t pid_ = -1;
  Fd terminal_;
  std::optional<ExecResult> result_;
};

// The container's output from now on, and its input.
class Attachment {
 public:
  explicit Attachment(Fd socket);

  int fd() const { return channel_->fd(); }
  // Output in frames; empty at the end: the container has ended, or this client was too slow.
  std::optional<Frame> next(std::optional<std::chrono::milliseconds> limit = {});
  void send(std::string_view bytes);
  void close_input();
  void resize(uint16_t rows, uint16_t columns);

 private:
  std::unique_ptr<Channel> channel_;
};

// What runs for `request` in a container of `spec`: pure. `home` is that of the user.
ProcessSpec exec_process(const Spec& spec, const ExecRequest& request, const User& user,
                         const std::string& home);

}  // namespace rayctl::run
