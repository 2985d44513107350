// Machines of the provider Local on disk, and the QEMU processes that belong to them.
//
//   <state dir>/local/
//     lock                      held while numbers are given out
//     kvm                       what probing KVM showed, since when
//     bin/<sha256>              rayctl, as machines fetch it
//     clusters/<cluster>/
//       firewall.json           public ports
//       <key>/                  one machine: machine.json, disk.qcow2, seed.iso, console, pid, monitor (QMP),
//       lock
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/json.h"
#include "cloud/local_plan.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

// One machine's directory; what is on disk is the truth, so that any process may go on where another one
// died.
struct LocalRecord {
  Machine machine;    // state is `requested` until QEMU was started once, and then `running`
  LocalMachine plan;  // what QEMU is started with
};

std::string to_text(const LocalRecord& record);
LocalRecord parse_local_record(const std::string& text, const std::string& name);

// Names become directories and parts of arguments: [A-Za-z0-9][A-Za-z0-9_.-]*, at most 63.
void check_local_name(std::string_view what, const std::string& name);

// A QEMU that runs with this machine's directory in its arguments: found by its pid file, else among all
// processes (it was started, and the one who did it died before the pid was written).
struct LocalProcess {
  pid_t pid = 0;
  Fd pidfd;
};
std::optional<LocalProcess> find_qemu(const std::string& directory);
// All of them, below this directory: also of machines whose directory is gone.
std::vector<pid_t> find_all_qemu(const std::string& directory);
// SIGTERM, after two seconds SIGKILL; returns when it is gone.
void end_process(const LocalProcess& process);

// One command to QEMU's monitor ("hostfwd_add …"); returns what it printed.
std::string ask_monitor(const std::string& directory, const std::string& command);

}  // namespace rayctl::cloud
