// Everything that a node has in its network namespace, as one desired state: overlay, bridge, containers'
// links, firewall, sysctls. reconcile() makes the kernel agree, as often as it is called.
//
//   NodeNetwork wanted{.overlay = …, .containers = {attachment(…)}};
//   NetworkReconciler network(paths.run_dir);
//   network.reconcile(wanted);                 // at each change of `wanted`,
//   watch network.event_fd() for reading:      // on each event of the kernel,
//     if (network.drain_events()) network.reconcile(wanted);
//   every 30 s: network.reconcile(wanted);     // and now and then
//   network.remove(wanted);                    // at the end, when no container is left
//
// The calling process is in the node's network namespace. A killed process leaves everything working; the
// next one's reconcile() finds nothing to do.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "net/container_net.h"
#include "net/overlay.h"
#include "net/policy.h"

namespace rayctl::net {

enum class ForeignFirewall { adjust, leave };  // one tagged rule in a FORWARD chain that drops

struct NodeNetwork {
  Overlay overlay = {};
  std::string bridge = "rayctl0";
  std::vector<Attachment> containers = {};
  Metadata metadata = Metadata::blocked;
  ForeignFirewall foreign_firewall = ForeignFirewall::adjust;
  std::optional<Policy> policy = {};  // empty: the pool's containers are open to each other
};

// What reconcile() did. `changes` is empty when the kernel agreed already.
struct Reconciled {
  std::vector<std::string> changes = {};   // "create link rayctl.4242", for the log
  std::vector<std::string> problems = {};  // what it can't put right itself, with the line to type
  uint32_t mtu = 0;                        // of the overlay and of the containers' links
};

// Mode userspace: makes the process that serves the TUN `link` run with this configuration. Returns what it
// did; called at each reconcile().
using RunTunnel = std::function<std::vector<std::string>(const std::string& link, uint32_t mtu,
                                                         const WireguardDevice& device)>;

class NetworkReconciler {
 public:
  explicit NetworkReconciler(const std::string& run_dir, RunTunnel run_tunnel = {});
  ~NetworkReconciler();
  NetworkReconciler(const NetworkReconciler&) = delete;
  NetworkReconciler& operator=(const NetworkReconciler&) = delete;

  // Throws when the kernel refuses a change; what keeps the pool's traffic in stands by then, and the rest of
  // the state may be applied. A container whose namespace is gone is listed in `problems`, and the others go
  // on.
  Reconciled reconcile(const NodeNetwork& wanted);

  // Removes links, routes, tables, rules and restores sysctls; what is absent is fine. Containers' named
  // namespaces are their owner's. Mode userspace: the process must have ended.
  void remove(const NodeNetwork& wanted);

  // Readable when links, addresses, routes, neighbours or nftables changed. drain_events() empties it and
  // tells whether a change was someone else's, as far as it can tell: then reconcile.
  int event_fd() const;
  bool drain_events();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One node per network namespace: holds that role until the descriptor is closed. Throws when another rayctl
// node has it. A supervisor takes it before its first reconcile().
Fd claim_network_namespace();

// The address that this host uses towards `peer` (a connected route's source), and the link it leaves by.
struct Underlay {
  Address address;
  std::string link;
  uint32_t mtu = 0;
};
Underlay underlay_towards(const Address& peer);
bool has_address(const Address& address);  // one of this host's links does
Underlay default_underlay();               // towards the default route; an error when there is none

}  // namespace rayctl::net
