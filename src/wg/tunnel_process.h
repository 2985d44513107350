// `rayctl tunnel`: one process per node that is a WireGuard device in user space. It outlives the supervisor
// (base/daemon.h has the files: run_dir/tunnel/…; tunnel_table.h the table).
//
//   kill -9 of it     the link stays and so do its routes: traffic stops, and goes nowhere else; ensure()
//   starts another upgrade           ensure() starts the new version, which takes link, sockets and sessions
//   over: no packet is lost link deleted      it makes the link anew at once; addresses and routes are the
//   supervisor's to repair
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/daemon.h"
#include "wg/tunnel_table.h"

namespace rayctl::wg {

struct PeerStatus {
  std::string endpoint = {};    // "" = not known yet
  uint64_t last_handshake = 0;  // Unix time in ms; 0: never
  uint64_t handshakes = 0;
  uint64_t received_bytes = 0, sent_bytes = 0;
  std::map<std::string, uint64_t> drops = {};  // reason (drops.h) -> packets; what is 0 is left out
};

struct TunnelStatus {
  pid_t pid = 0;
  std::string version = {};  // rayctl's, of the binary that runs
  uint64_t table = 0;        // the table's version that is in use
  std::string interface = {};
  std::string public_key = {};
  uint16_t listen_port = 0;
  std::map<std::string, bool> features = {};  // tun_tso, tun_uso, udp_gso, udp_gro, ipv6
  uint64_t links_made = 0;                    // 1, and one more each time that somebody deleted it
  std::map<std::string, std::string> errors =
      {};                                      // "table", "link", "socket" -> why it isn't as the table wants
  std::map<std::string, uint64_t> drops = {};  // of no known peer
  std::map<std::string, PeerStatus> peers = {};  // by public key in base64
};

TunnelStatus parse_tunnel_status(const Json& document);

// The supervisor's handle on the process; holds nothing but paths.
class TunnelProcess {
 public:
  // `binary` is executed as `BINARY tunnel …`: a sealed copy, so that an upgrade on disk doesn't matter.
  TunnelProcess(const std::string& run_dir, std::string binary);

  // Replaces the table (mode 0600); the process takes it within milliseconds. Before the first ensure().
  void write_table(const TunnelTable& table);

  // Starts it unless it runs; returns once it carries packets. "" = it was running, else a line for the log.
  // Throws with what hinders it: the port is taken, there is no TUN, …
  std::string ensure();

  // Empty when it doesn't run. Written at most once a second (5 s from 500 peers on), at once after a new
  // table.
  std::optional<TunnelStatus> status() const;

  // Waits until table `version` is in use; throws with the reason at the deadline.
  void wait_table(uint64_t version, std::chrono::milliseconds limit) const;

  Fd watch() const { return daemon_.watch(); }  // a pidfd, readable when it dies; empty when it doesn't run
  void stop();                                  // also removes the link, even when no process lives

 private:
  DaemonHandle daemon_;
};

// Early dispatch: `rayctl tunnel --dir DIR [--replace PID]`.
int tunnel_main(int argc, char** argv);

}  // namespace rayctl::wg
