// One client of a shim: an exec, an attachment, or a single request.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "run/cgroup.h"
#include "run/container.h"
#include "run/shim_wire.h"

namespace rayctl::run {

// What the sessions of a shim share.
struct ShimContext {
  const Spec& spec;
  Cgroup& cgroup;
  pid_t init = 0;
  uint64_t init_start_time = 0;
  int terminal = -1;  // the container's, if it has one
  Fd& input;  // of the container: its terminal's master or the pipe to its stdin; closed at the end of input
  unsigned execs = 0;
  std::optional<StopCall> stop = {};  // newly asked for
};

class ShimSession {
 public:
  using Clock = std::chrono::steady_clock;

  ShimSession(Fd socket, ShimContext& context) : channel_(std::move(socket)), context_(context) {}
  ShimSession(const ShimSession&) = delete;
  ShimSession& operator=(const ShimSession&) = delete;
  ~ShimSession();

  int fd() const { return channel_.fd(); }
  // POLLIN, POLLOUT: nothing is read from a client while what it sent can't be passed on.
  short events() const;
  int exec_fd() const { return exec_ ? exec_->process.pidfd.get() : -1; }
  bool waits_for_input() const { return !pending_input_.empty(); }
  std::optional<Clock::time_point> deadline() const;

  void on_client(short revents);
  void on_exec_ended();
  void on_input_ready();
  void on_deadline();
  void output(FrameKind kind,
              std::string_view bytes);  // to an attached client; one that doesn't read is dropped
  void container_ended();
  bool finished() const { return finished_; }

 private:
  struct Exec {
    Process process;
    Cgroup cgroup;
    bool detached = false;
    bool timed_out = false;
    std::optional<Clock::time_point> deadline = {};
  };
  void handle(const Frame& frame);
  void start_exec(const ExecCall& call);
  void feed(std::string_view bytes);
  void reply(const ShimReply& reply, int fd = -1);
  void hang_up();
  void handle_frames();
  void refuse(const Error& error);
  void kill_exec();

  Channel channel_;
  ShimContext& context_;
  std::optional<Exec> exec_;
  bool attached_ = false;
  bool connected_ = true;
  bool finished_ = false;
  bool input_ends_ = false;
  std::string pending_input_;
};

}  // namespace rayctl::run
