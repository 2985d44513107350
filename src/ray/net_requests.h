// Requests about the network: net.rules, net.check, net.rotate; of this node, or passed on by the head.
#pragma once

#include <memory>

#include "ray/node_requests.h"

namespace rayctl::ray {

void register_net_requests(cluster::RequestTable& requests, const std::shared_ptr<RequestContext>& context);

}  // namespace rayctl::ray
