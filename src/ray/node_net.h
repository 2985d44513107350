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

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// Pure: what the kernel and the name server should hold on the node `self`.
net::NodeNetwork wanted_network(const cluster::ClusterView& view, const cluster::Node& self,
                                const std::vector<net::Attachment>& containers);
net::DnsTable wanted_names(const cluster::ClusterView& view, const std::vector<net::Attachment>& containers,
                           uint64_t version);

class NodeNet {
 public:
  // `binary` is the sealed copy that the name server runs from.
  NodeNet(boost::asio::io_context& io, const Paths& paths, const std::string& binary);
  ~NodeNet();  // leaves everything in the kernel: containers go on talking

  // From now on the kernel is kept at this; applied at once. Throws when the kernel refuses.
  void update(const cluster::ClusterView& view, const cluster::Node& self);
  // The container's namespace and link; the same values at each start. Applied at once, its names are served
  // on return.
  // `pid`: of a container that runs already, whose namespace it is.
  net::Attachment attach(const std::string& container_id, int64_t pid = 0);
  void detach(const std::string& container_id);
  const std::vector<std::string>& problems() const;  // what the reconciler can't put right, for status

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Everything that the supervisor of these paths left in the kernel: links, routes, rules, names, network
// namespaces. For when none runs.
void remove_node_network(const Paths& paths);

}  // namespace rayctl::ray
