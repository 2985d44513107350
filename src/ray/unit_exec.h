// A command in the node's container, its streams on a channel.
#pragma once

#include "base/json.h"
#include "cluster/control_channel.h"
#include "run/lifecycle.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// `body`: {argv, env, user, workdir, tty, interactive}; an empty argv is a shell. Events {"resize": [rows,
// columns]} and
// {"signal": "INT"} come on the channel; the answer is {"code": exit code}. A closed channel kills what was
// started.
void serve_exec(boost::asio::io_context& io, const run::ContainerDir& container, const Json& body,
                const cluster::ChannelPtr& channel);

}  // namespace rayctl::ray
