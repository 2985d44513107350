// `rayctl dns`: one process per node that serves every container's 127.0.0.11:53 and outlives the supervisor.
//
//   run_dir/dns/table.json    the supervisor replaces it (dns_table.h); the process watches it
//   run_dir/dns/status.json   the process replaces it: {pid, version (rayctl's), table, serving, errors}
//   run_dir/dns/lock          flock held by the process that serves
//   run_dir/dns/log           its stderr
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/daemon.h"
#include "net/dns_table.h"

namespace rayctl::net {

struct DnsStatus {
  pid_t pid = 0;
  std::string version = {};                        // of the binary that runs
  uint64_t table = 0;                              // the table's version that is served
  std::vector<std::string> serving = {};           // container ids
  std::map<std::string, std::string> errors = {};  // container id -> why it isn't served
};

// The supervisor's handle on the process; holds nothing but paths, so that any number may come and go.
class DnsProcess {
 public:
  // `binary` is executed as `BINARY dns …`: a sealed copy, so that an upgrade on disk doesn't matter.
  DnsProcess(const std::string& run_dir, std::string binary);

  // Starts it unless it runs; one of another rayctl version is replaced without a gap (both bind, then the
  // old one drains). Returns what was done: "" = it was running, else a line for the log.
  std::string ensure();

  // Replaces the table; the process takes it within milliseconds.
  void write_table(const DnsTable& table);

  std::optional<DnsStatus> status() const;  // empty when it doesn't run

  // Waits until table `version` is in use and `container` is served; throws with the reason at the deadline.
  void wait_serving(const std::string& container, uint64_t version, std::chrono::milliseconds limit) const;

  Fd watch() const { return daemon_.watch(); }  // a pidfd, readable when it dies; empty when it doesn't run
  void stop();                                  // SIGTERM, waits up to 2 s, SIGKILL; removes run_dir/dns

 private:
  DaemonHandle daemon_;
};

// Early dispatch: `rayctl dns --dir DIR [--replace]`.
int dns_main(int argc, char** argv);

}  // namespace rayctl::net
