// A TCP connection to a container of this node, its bytes on a channel.
#pragma once

#include <string>

#include "cluster/control_channel.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// Connects within five seconds, to the container's own address and to nothing else; answers {} once the
// container's side closed. A closed channel closes the connection.
void serve_dial(boost::asio::io_context& io, const std::string& container_address, uint16_t port,
                const cluster::ChannelPtr& channel);

}  // namespace rayctl::ray
