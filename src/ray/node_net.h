// A node's network as its cluster wants it: the view turned into links, routes, rules and names, kept that
// way.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/paths.h"
#include "cluster/cluster.h"
#include "net/dns_table.h"
#include "net/node_network.h"
#include "ray/jobs.h"
#include "ray/net_check.h"
#include "wg/tunnel_table.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// What a node settles for itself.
struct OwnNetwork {
  net::OverlayMode mode = net::OverlayMode::vxlan;
  net::WireguardKey private_key = {};
};

// Pure: what the kernel, the name server and the tunnel should hold on the node `self`. Peers that can't be
// used (no key, an address that isn't one) are left out and told in `problems`.
net::NodeNetwork wanted_network(const cluster::ClusterView& view, const cluster::Node& self,
                                const OwnNetwork& own, const std::vector<net::Attachment>& containers,
                                std::vector<std::string>* problems = nullptr);
net::DnsTable wanted_names(const cluster::ClusterView& view, const std::vector<net::Attachment>& containers,
                           uint64_t version);
// Without an overlay: what the machine's own network namespace is called among those that names are served
// in.
inline constexpr const char* shared_namespace = "host";
// `view` tells which peers may use the cluster's own cipher.
wg::TunnelTable wanted_tunnel(const cluster::ClusterView& view, const std::string& link, uint32_t mtu,
                              const net::WireguardDevice& device, uint64_t version);

inline constexpr const char* default_overlay = "auto";
// How this node encrypts: as it was told itself, else as its cluster is, else as its kernel can. "" = not at
// all: a cluster that encrypts refuses it.
std::string own_encryption(const std::string& own, const std::string& cluster);

// Settings of a cluster (Cluster::settings) that this part reads.
inline constexpr const char* overlay_port_setting = "overlay-port";
inline constexpr const char* overlay_cipher_setting =
    "overlay-cipher";  // "aes256gcm" between userspace tunnels

inline constexpr const char* egress_setting = "egress";      // "declared": see net::Egress
inline constexpr const char* metadata_setting = "metadata";  // "allowed": to every container

struct NodeNetEvents {
  // This node has another address towards the head, or another public key, than its cluster knows: tell it.
  std::function<void(const std::string& underlay, const std::string& public_key)> on_facts = {};
};

class NodeNet {
 public:
  // `binary` is the sealed copy that the name server and the tunnel run from; `overlay` is how this node was
  // told to encrypt, if it was.
  NodeNet(boost::asio::io_context& io, Jobs& jobs, const Paths& paths, const std::string& binary,
          const std::string& overlay, NodeNetEvents events);
  ~NodeNet();  // leaves everything in the kernel: containers go on talking

  // From now on the kernel is kept at this. The first time it is applied at once, and throws when the kernel
  // refuses; later within milliseconds, and what fails is tried again.
  void update(const cluster::ClusterView& view, const cluster::Node& self);
  // The container's namespace and link; the same values at each start. Applied at once, its names are served
  // on return.
  // `pid`: of a container that runs already, whose namespace it is. `slot`: which address of the node's
  // subnet; 0 is Ray's own container. Without an overlay the namespace is the machine's own.
  net::Attachment attach(const std::string& container_id, int64_t pid = 0, uint32_t slot = 0);
  void detach(const std::string& container_id);  // when it ended and won't come back: removes its namespace
  const std::vector<std::string>& problems() const;  // what the reconciler can't put right, for status
  net::OverlayMode mode() const;
  std::string public_key() const;  // as the cluster should know it
  // For `net check`; `peer`: a node's name, or "" for all.
  CheckInput check_input(const std::string& peer) const;
  void rotate_key();  // makes a new key; everyone changes to it once the cluster tells it

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Everything that the supervisor of these paths left in the kernel: links, routes, rules, names, network
// namespaces. For when none runs.
void remove_node_network(const Paths& paths);

}  // namespace rayctl::ray
