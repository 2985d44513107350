// Containers as a supervisor sees them: a directory each, with a shim while they run.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "run/cgroup.h"
#include "run/container.h"
#include "run/container_state.h"
#include "run/defaults.h"
#include "run/exec_session.h"
#include "run/log_reader.h"
#include "run/spec.h"

namespace rayctl::run {

// One container: DIR/{spec.json, options.json, state.json, exit.json, log, log.1 …, shim.sock, shim.log,
// lock}. The caller may keep more there (the overlay's upper directory). What is on disk is the truth: any
// number of processes may hold an object of the same container, and a new supervisor continues where a killed
// one stopped.
class ContainerDir {
 public:
  // Makes `containers`/<id>. The id names a directory, a cgroup and a host: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at
  // most 64. The Spec must name a cgroup (linux.cgroupsPath).
  static ContainerDir create(const std::string& containers, const Spec& spec,
                             const ContainerOptions& options);
  static ContainerDir open(const std::string& containers, const std::string& id);
  static std::vector<std::string> list(const std::string& containers);  // ids, sorted

  const std::string& path() const { return path_; }
  const std::string& id() const { return options_.id; }
  const ContainerOptions& options() const { return options_; }
  Spec spec() const;
  void set_spec(const Spec& spec);  // for the next launch

  // Starts it: returns when its program was executed, throws what hindered that. Needs that it isn't running.
  void launch(const std::string& run_dir, std::chrono::milliseconds limit = std::chrono::minutes(2));

  // What holds now: when the shim is gone, `running` on disk becomes `stopped` here.
  RunState state() const;
  bool running() const { return state().status == RunStatus::running; }
  std::optional<ContainerExit> exit() const;  // of the last run

  // To be called by whoever finds it on disk, and after watch_fd() became readable: when the shim is gone
  // without having recorded the end (it was killed, or the machine went down) what is left of the container
  // is killed and recorded. Returns what state() then says.
  RunState adopt();

  // Readable (POLLIN) once the shim has ended: then exit() is there, or adopt() makes it. -1 when nothing
  // runs.
  int watch_fd();
  // Waits for the end. Empty: it still runs after `limit`.
  std::optional<ContainerExit> wait(std::optional<std::chrono::milliseconds> limit = {});

  // Asks for the end and returns at once: the signal to PID 1, after `grace` SIGKILL to all. The shim sees to
  // it, also when the caller dies. A second call can only shorten the grace.
  void request_stop(std::chrono::milliseconds grace);
  ContainerExit stop(
      std::chrono::milliseconds grace);  // and waits; nothing happens to one that isn't running
  void signal(int signal) const;         // to PID 1
  CgroupStats stats() const;
  void freeze() const;
  void thaw() const;

  // Kills it if it runs, and removes its cgroup and its directory with everything in it.
  void remove();

  LogReader log(const LogQuery& query) const { return LogReader(path_, query); }

  // See exec_session.h. The container must be running.
  ExecSession exec(const ExecRequest& request) const;
  Attachment attach() const;

  // DIR/{hosts, hostname, resolv.conf}, written in place so that a running container, which has them mounted,
  // sees a change at once. Returns the binds for Defaults::binds.
  std::vector<Bind> write_network_files(const std::string& hosts, const std::string& resolv_conf) const;

 private:
  ContainerDir(std::string path, ContainerOptions options)
      : path_(std::move(path)), options_(std::move(options)) {}
  std::string file(const char* name) const { return path_ + "/" + name; }
  RunState read_state() const;
  bool shim_alive() const;
  Fd open_init(const RunState& state) const;
  Cgroup cgroup() const;
  void record_lost(RunState& state);
  void use_init(const std::string& sealed);
  Fd connect() const;

  std::string path_;
  ContainerOptions options_;
  Fd watch_;
};

}  // namespace rayctl::run
