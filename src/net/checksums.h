// Whether what this node sends through a VXLAN link arrives with right checksums. The kernel leaves the sum
// of an inner TCP or UDP packet to the network card where that one offers it for tunnels; some cards and
// virtual ones (VMware NSX, older kernels behind NAT) get it wrong. Then echoes are answered, as their sums
// are the kernel's own, and TCP hangs. WireGuard's packets can't suffer so: both its kernel's part and
// `rayctl tunnel` compute sums before they encrypt.
#pragma once

#include <string>
#include <vector>

#include "net/address.h"
#include "net/overlay.h"

namespace rayctl::net {

enum class Checksums { unknown, right, wrong };

// Asks each peer's end of the overlay by datagrams to a closed port: with a checksum, and, where no answer
// comes, also without one. wrong: only the latter are answered, time and again. unknown: neither is, e.g. for
// a firewall. Blocks for up to 1.2 seconds.
std::vector<Checksums> test_checksums(const std::vector<Peer>& peers);

// Whether the link `name` leaves checksums to what comes after it (ethtool's tx-checksumming); of one that
// isn't there or doesn't say: false.
bool leaves_checksums(const std::string& name);
void compute_checksums(const std::string& name);  // from now on the kernel does it, before the link

// What is found over time.
class ChecksumFinding {
 public:
  // Of the answer to test_checksums(), through a link that leaves them or not.
  void take(const std::vector<Peer>& asked, const std::vector<Checksums>& found, bool leaves);
  bool compute() const { return compute_; }  // the link shall not leave them
  std::string problem() const;               // a line for status, empty when all is well

 private:
  bool compute_ = false;
  std::string still_wrong_;  // towards whom, though the kernel computes them
};

}  // namespace rayctl::net
