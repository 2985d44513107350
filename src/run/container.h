// From a Spec to a process, and a process into a running container.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/child.h"
#include "base/fd.h"
#include "run/spec.h"

namespace rayctl::run {

// The descriptors that become 0, 1 and 2. Ignored when the process has a terminal.
struct Stdio {
  int in = 0, out = 1, err = 2;
};

// Where the new process goes, prepared by the caller; plain numbers, so that the child needs no more than
// them.
struct CgroupEntry {
  int unified_directory = -1;  // cgroup v2: for CLONE_INTO_CGROUP
  std::vector<int> procs_files =
      {};  // open cgroup.procs files (v1 controllers; v2 where cloning into it fails)
};

enum class Keyring { fresh, inherited };

// chroot: for a host whose root is an initramfs, which can't be pivoted.
enum class RootSwitch {
  pivot,
  move,
  in_place
};  // in_place: chroot alone, in a mount namespace that others use

struct StartOptions {
  std::string id;            // for hooks' state
  std::string bundle = "/";  // root.path and hook state are relative to it
  Stdio stdio = {};
  CgroupEntry cgroup = {};
  std::string seccomp_cache = {};  // directory of compiled filters (seccomp_cache.h); empty = none
  int preserve_fds = 0;            // 3 … 2+N stay open
  int gate = -1;  // a listening SOCK_SEQPACKET unix socket: PID 1 waits for a connection before it executes
                  // (create/start)
  Keyring keyring = Keyring::fresh;
  RootSwitch root_switch = RootSwitch::pivot;
  std::function<void(const std::string&)> warn = {};  // empty: into the log
};

// A started process; nothing is killed when it is destroyed.
struct Process {
  pid_t pid = -1;
  Fd pidfd = {};
  Fd terminal = {};  // the pty's master when the process has a terminal
};

// Makes namespaces, mounts, credentials and filters, and executes process.args as a child of the caller.
// Returns once the program was executed (with a gate: once it waits at it); until then every failure is
// thrown, with the child gone. The calling process must be single-threaded and run from a sealed copy of the
// binary (sealed.h): the child is a plain fork that shares its executable with the container for a moment.
// Callers that are neither use run_to_end.
Process start_container(const Spec& spec, const StartOptions& options);

struct ExecOptions {
  std::string id = {}, bundle = {};         // for the state that a seccomp agent gets
  pid_t pid = -1;                           // the container's PID 1
  std::optional<uint64_t> start_time = {};  // field 22 of /proc/PID/stat, so that a reused pid is noticed
  Stdio stdio = {};
  CgroupEntry cgroup = {};
  std::string seccomp_cache = {};
  int preserve_fds = 0;
  std::function<void(const std::string&)> warn = {};
};

// A process in the container of `options.pid`, all its namespaces, its root directory, as a child of the
// caller. Takes seccomp, masks and the like from `spec`; `process` is what runs. Same precondition as
// start_container.
Process exec_in_container(const Spec& spec, const ProcessSpec& process, const ExecOptions& options);

Exit wait_for(const Process& process);  // waits for our child and reaps it

// In the foreground, from any process, with any number of threads: a launcher process from a sealed copy of
// the binary makes the container and its cgroup, waits, and removes the cgroup. `run_dir` holds the sealed
// copy. Does not return before everything in it is dead. `interrupted` is asked every 100 ms: true kills the
// container and throws Interrupted.
Exit run_to_end(const Spec& spec, const Stdio& stdio, const std::string& run_dir,
                const std::function<bool()>& interrupted = {});

// Field 22 of /proc/PID/stat: clock ticks since boot. Empty when there is no such process.
std::optional<uint64_t> process_start_time(pid_t pid);

}  // namespace rayctl::run
